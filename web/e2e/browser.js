// People with browsers, for tests: Chromium with a made-up camera and microphone. Whatever a page complains about fails the
// test that opened it.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { mustEnv } from "../testing/usher.js";

/** @typedef {import("../testing/usher.js").Usher} Usher */
/** @typedef {import("playwright-core").Browser} Browser */
/** @typedef {import("playwright-core").BrowserContextOptions} ContextOptions */
/** @typedef {import("playwright-core").Page} Page */

/** Two cores that do ten other things at once: what takes a second at leisure may take twenty. */
export const patience = 30_000;

export const artefacts = fileURLToPath(new URL("artefacts", import.meta.url));
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const desktop = { width: 1280, height: 800 };

/** @type {ContextOptions} */
export const onPhone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

/** What people have before them, as options of a browser. @type {readonly (readonly [string, ContextOptions])[]} */
export const devices = [
  ["a computer", {}],
  ["a phone", onPhone],
];

/** @param {import("../testing/usher.js").Scope} scope */
export async function launch(scope) {
  const browser = await chromium.launch({
    executablePath: mustEnv("USHER_TEST_CHROMIUM"),
    args: [
      "--no-sandbox",
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
      "--disable-background-networking",
      "--disable-gpu",
      // Each small: pictures are encoded by these two cores.
      "--auto-select-desktop-capture-source=Entire screen",
    ],
    timeout: 120_000,
  });
  scope.after(() => browser.close());
  return browser;
}

/** Somebody with a browser of their own. */
export class Person {
  /** What pages complained about. @type {string[]} */ complaints = [];

  /**
   * @param {Browser} browser
   * @param {Usher | string} usher One that runs, or its address.
   * @param {ContextOptions} [options]
   */
  static async open(browser, usher, options = {}) {
    const url = typeof usher === "string" ? usher : usher.url;
    const context = await browser.newContext({
      baseURL: url,
      viewport: desktop,
      locale: "en-GB",
      // Axe would see, and pictures show, what is half faded in.
      reducedMotion: "reduce",
      ...options,
    });
    context.setDefaultTimeout(patience);
    await context.grantPermissions(["camera", "microphone", "clipboard-read", "clipboard-write"], { origin: url });
    const person = new Person(context, await context.newPage());
    person.listen();
    return person;
  }

  /**
   * @param {import("playwright-core").BrowserContext} context
   * @param {Page} page
   */
  constructor(context, page) {
    this.context = context;
    this.page = page;
    /** Complaints that belong to what a test does. @type {RegExp[]} */
    this.expected = [];
  }

  listen() {
    this.page.on("console", (message) => {
      if (message.type() === "error") this.complaints.push(`${message.text()} (${message.location().url})`);
    });
    this.page.on("pageerror", (error) => this.complaints.push(String(error.stack ?? error)));
  }

  /** Signs in at the development sign-in. @param {string} name @param {string} [to] */
  async signIn(name, to = "/") {
    await this.page.goto(`/auth/login?return_to=${encodeURIComponent(to)}`);
    await this.page.getByLabel("Your name").fill(name);
    await this.page.locator("form.stack").getByRole("button", { name: "Sign in" }).click();
    await this.page.waitForURL((url) => url.pathname === to);
  }

  /** @param {string} name @param {string} [access] */
  async createRoom(name, access = "Members only") {
    await this.page.goto("/");
    await this.page.getByLabel("Name", { exact: true }).fill(name);
    await this.page.getByRole("radio", { name: access }).check();
    await this.page.getByRole("button", { name: "Make room" }).click();
    await this.page.getByRole("heading", { name, level: 1 }).waitFor();
    return new URL(this.page.url()).pathname;
  }

  /** From the page of a room into its meeting. @param {string} [name] */
  async join(name) {
    if (name !== undefined) await this.page.getByLabel("Your name").fill(name);
    await this.page.getByRole("button", { name: "Join now" }).click();
    await this.page.getByRole("button", { name: "Leave", exact: true }).waitFor();
  }

  /** From the page of a room to its door. @param {string} name */
  async knock(name) {
    await this.page.getByLabel("Your name").fill(name);
    await this.page.getByRole("button", { name: "Ask to join" }).click();
    await this.page.getByRole("heading", { name: "You are at the door" }).waitFor();
  }

  /** Opens the panel of people. */
  async people() {
    await this.page.getByRole("button", { name: /^People/ }).click();
    await this.page.getByRole("heading", { name: "People", level: 2 }).waitFor();
  }

  /** Opens the panel with the invitation: from the menu where there is no room for a button. @param {string} room */
  async invite(room) {
    const button = this.page.getByRole("button", { name: "Invite", exact: true });
    if (await button.count()) await button.click();
    else {
      await this.page.getByRole("button", { name: `Actions for ${room}` }).click();
      await this.page.getByRole("menuitem", { name: "Invite", exact: true }).click();
    }
    await this.page.getByRole("heading", { name: "Invite people" }).waitFor();
  }

  /** Lets somebody in who waits. @param {string} name */
  async admit(name) {
    await this.page.getByRole("button", { name: `Let in ${name}` }).click();
  }

  /**
   * Waits until pictures of somebody have really been decoded.
   * @param {string} name
   * @param {number} [frames]
   */
  async sees(name, frames = 3) {
    const video = this.page.getByRole("region", { name, exact: true }).locator("video");
    await video.waitFor();
    await this.page.waitForFunction(
      ([element, wanted]) => {
        const video = /** @type {HTMLVideoElement} */ (element);
        return video.videoWidth > 0 && video.getVideoPlaybackQuality().totalVideoFrames >= Number(wanted);
      },
      /** @type {const} */ ([await video.elementHandle(), frames]),
      { timeout: patience, polling: 50 },
    );
  }

  /** Does something to somebody from their menu in the panel. @param {string} name @param {string} action */
  async act(name, action) {
    await this.page.getByRole("button", { name: `Actions for ${name}`, exact: true }).click();
    await this.page.getByRole("menuitem", { name: action }).click();
  }

  /**
   * A page as it is now: a picture to look at, what a screen reader would stumble over, and whether it fits the screen.
   * @param {string} name
   */
  async look(name) {
    mkdirSync(artefacts, { recursive: true });
    await this.page.screenshot({ path: join(artefacts, `${name}.png`), fullPage: true });
    await this.#accessible(name);
    // Not innerWidth: a phone's browser zooms out until everything fits.
    const width = this.page.viewportSize()?.width ?? 0;
    const wide = await this.page.evaluate((width) => {
      const inside = [...document.querySelectorAll("dialog, .panel-body")].map((e) => e.scrollWidth - e.clientWidth);
      return Math.max(document.documentElement.scrollWidth - width, ...inside);
    }, width);
    assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
  }

  /** Fails when axe finds something serious on the page. @param {string} what */
  async #accessible(what) {
    await this.page.evaluate(axe);
    const found = await this.page.evaluate(async () => {
      // @ts-expect-error axe puts itself there
      const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
      return /** @type {{ impact: string, id: string, help: string, nodes: { html: string }[] }[]} */ (violations);
    });
    const serious = found.filter(({ impact }) => impact === "serious" || impact === "critical");
    const told = serious.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map(({ html }) => html).join("\n  ")}`);
    assert.equal(told.join("\n"), "", `axe on ${what}`);
  }

  /** Goes home. Fails when a page complained: errors on the console, exceptions, violations of the policy. */
  async close() {
    const left = this.complaints.filter((one) => !this.expected.some((pattern) => pattern.test(one)));
    assert.deepEqual(left, []);
    await this.context.close();
  }
}
