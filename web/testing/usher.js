// Runs Usher for tests: the real program with the real livekit-server, as `go tool task dev` does.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** @typedef {import("node:child_process").ChildProcess} ChildProcess */
/** @typedef {{ after(fn: () => unknown): void }} Scope What a test context is for us. */

/**
 * A setting that `go tool task e2e` makes.
 * @param {string} name
 */
export function mustEnv(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run the tests with \`go tool task e2e\``);
  return value;
}

// As server/internal/testenv does: a block of ports below those that the kernel gives to others, held by its first one.
const firstPort = 10_000;
const blockSize = 500;
const blocks = 20;
/** @type {{ base: number, next: number } | undefined} */
let block;

/** @param {number} port @returns {Promise<import("node:net").Server | undefined>} */
function hold(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(undefined));
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}

/** A loopback port that nothing listens on. */
export async function freePort() {
  for (let n = Math.floor(Math.random() * blocks), tries = 0; !block && tries < blocks; n = (n + 1) % blocks, tries++) {
    const held = await hold(firstPort + n * blockSize);
    if (!held) continue;
    held.unref();
    block = { base: firstPort + n * blockSize, next: 1 };
  }
  if (!block) throw new Error("all blocks of ports are taken");
  for (let tries = 0; tries < blockSize; tries++) {
    const port = block.base + block.next;
    block.next = (block.next % (blockSize - 1)) + 1;
    const held = await hold(port);
    if (!held) continue;
    await new Promise((resolve) => held.close(resolve));
    return port;
  }
  throw new Error("no port is free");
}

/**
 * A folder that goes with the test.
 * @param {Scope} scope
 */
export function folder(scope) {
  const path = mkdtempSync(join(tmpdir(), "usher-web-"));
  scope.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A program that is stopped with the test. */
export class Program {
  /** @type {ChildProcess} */ child;
  output = "";
  /** @type {Promise<void>} */ ended;

  /**
   * @param {Scope} scope
   * @param {string} path
   * @param {string[]} args
   * @param {Record<string, string>} [env]
   */
  constructor(scope, path, args, env = {}) {
    this.child = spawn(path, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.child.stdout, this.child.stderr]) stream?.on("data", (text) => (this.output += text));
    this.ended = new Promise((resolve) => this.child.once("close", () => resolve()));
    // The process may end in the middle of a test run that is killed: it must not stay.
    const kill = () => this.child.kill("SIGKILL");
    process.once("exit", kill);
    scope.after(async () => {
      await this.stop();
      process.removeListener("exit", kill);
    });
  }

  /**
   * Waits until it has printed something.
   * @param {RegExp} pattern
   */
  async printed(pattern) {
    const running = { yes: true };
    this.ended.then(() => (running.yes = false));
    for (let waited = 0; waited < 120_000; waited += 50) {
      const found = pattern.exec(this.output);
      if (found) return found;
      if (!running.yes) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${this.child.spawnfile} did not print ${pattern}:\n${this.output}`);
  }

  /** Stops it in order, or kills it when that takes too long. */
  async stop() {
    const late = setTimeout(() => this.child.kill("SIGKILL"), 20_000);
    this.child.kill("SIGINT");
    await this.ended;
    clearTimeout(late);
  }

  /** Ends it as a crash does. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}

/** `usher dev` on ports and data of its own. */
export class Usher {
  /**
   * @param {Scope} scope
   * @param {Record<string, string>} [env] Further settings.
   */
  static async start(scope, env = {}) {
    const usher = new Usher(scope, folder(scope), env);
    for (const flag of ["--port", "--internal-port", "--livekit-port"]) usher.args.push(flag, String(await freePort()));
    await usher.start();
    return usher;
  }

  /**
   * @param {Scope} scope
   * @param {string} data
   * @param {Record<string, string>} env
   */
  constructor(scope, data, env) {
    this.scope = scope;
    this.env = env;
    this.args = ["dev", "--data", join(data, "data"), "--livekit-server", mustEnv("USHER_TEST_LIVEKIT_SERVER")];
    /** An API token of the developer with all scopes. */
    this.token = "";
    /** @type {Program | undefined} */
    this.program = undefined;
  }

  /** Starts it, again on the same data and ports after a stop. */
  async start() {
    this.program = new Program(this.scope, mustEnv("USHER_TEST_PROGRAM"), this.args, this.env);
    this.token = (await this.program.printed(/Bearer (eyJ[\w.-]+)/))[1] ?? "";
  }

  /** Where it keeps everything. */
  get data() {
    return /** @type {string} */ (this.args[this.args.indexOf("--data") + 1]);
  }

  get url() {
    return `http://localhost:${this.args[this.args.indexOf("--port") + 1]}`;
  }

  async stop() {
    await this.program?.stop();
  }

  async kill() {
    await this.program?.kill();
  }
}
