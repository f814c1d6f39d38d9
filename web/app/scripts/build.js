// Builds ../dist: Vite's output, and each file compressed beside it, because usher serves what it embeds as it is.
import { copyFileSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "vite";

const app = fileURLToPath(new URL("..", import.meta.url));
const dist = join(app, "../dist");
for (const name of readdirSync(dist)) {
  if (name !== "README.md") rmSync(join(dist, name), { recursive: true });
}
await build({ root: app, logLevel: "warn" });
// Licences come along with what they are about.
copyFileSync(join(app, "../../THIRD_PARTY_NOTICES"), join(dist, "third-party-notices.txt"));

// Not the page: the server writes into it.
const compressible = /\.(js|css|svg|txt|webmanifest)$/;
for (const name of readdirSync(dist, { recursive: true, encoding: "utf8" })) {
  const path = join(dist, name);
  if (!compressible.test(name) || statSync(path).size < 512) continue;
  const content = readFileSync(path);
  writeFileSync(`${path}.br`, brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }));
  writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }));
}
