// Builds dist/: the generated messages are copied in from gen/ts, so that the package holds all that it needs.
import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
for (const folder of ["src/gen", "dist"]) rmSync(folder, { recursive: true, force: true });
cpSync("../../gen/ts", "src/gen", { recursive: true });
// npm takes it along by its name.
cpSync("../../LICENSE", "LICENSE");

const files = readdirSync("src/gen/usher/v1").sort();
writeFileSync(
  "src/gen/index.ts",
  files.map((file) => `export * from "./usher/v1/${file.replace(/\.ts$/, ".js")}";\n`).join(""),
);

execFileSync(process.execPath, ["../node_modules/typescript/bin/tsc", "-p", "."], { stdio: "inherit" });
