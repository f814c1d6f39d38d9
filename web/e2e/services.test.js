// What comes with the other services: recordings, and phone numbers.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createUsherClient } from "@usher-meet/client";
import { Usher } from "../testing/usher.js";
import { launch, Person } from "./browser.js";

/** @type {(() => unknown)[]} */
const cleanups = [];
const scope = { after: (/** @type {() => unknown} */ fn) => cleanups.unshift(fn) };
/** @type {Usher} */
let usher;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  usher = await Usher.start(scope, { USHER_TELEPHONY_SWEEP: "1s", USHER_RECORDING_SWEEP: "1s" });
  browser = await launch(scope);
});
after(async () => {
  for (const clean of cleanups) await clean();
});

test("a recording, from the start to the download", async () => {
  const ada = await Person.open(browser, usher);
  const bob = await Person.open(browser, usher);
  await ada.signIn("Ada Lovelace");
  const path = await ada.createRoom("Recorded");
  await ada.join();
  await bob.signIn("Bob", path);
  await bob.knock("Bob");
  await ada.people();
  await ada.admit("Bob");
  await bob.sees("Ada Lovelace");

  await ada.page.getByRole("button", { name: "Actions for Recorded" }).click();
  await ada.page.getByRole("menuitem", { name: "Record" }).click();
  await ada.accessible("asking to record");
  await ada.screenshot("recording, asked");
  await ada.page.getByRole("dialog").getByRole("button", { name: "Record" }).click();
  // The stand-in for the recorder does not come into the room, by which LiveKit would tell the others.
  await ada.page.locator(".recorded").waitFor();
  await ada.screenshot("recording, running");
  await bob.page.getByRole("button", { name: "Actions for Recorded" }).click();
  assert.equal(await bob.page.getByRole("menuitem", { name: "Stop recording" }).count(), 0);
  await bob.page.keyboard.press("Escape");
  await ada.page.getByRole("button", { name: "Actions for Recorded" }).click();
  await ada.page.getByRole("menuitem", { name: "Stop recording" }).click();
  await ada.page.locator(".recorded").waitFor({ state: "detached" });

  await ada.page.goto(`/-/rooms${path}`);
  const list = ada.page.locator("section", { has: ada.page.getByRole("heading", { name: "Recordings" }) });
  await list.getByText("Saved").waitFor({ timeout: 60_000 });
  await list.getByRole("link").click();
  await ada.page.getByRole("heading", { name: "Recorded", level: 1 }).waitFor();
  await ada.accessible("a recording");
  await ada.screenshot("recording");
  const [download] = await Promise.all([
    ada.page.waitForEvent("download"),
    ada.page.getByRole("button", { name: "Download" }).click(),
  ]);
  const file = readFileSync(await download.path());
  assert.equal(file.subarray(4, 8).toString(), "ftyp", "an MP4 file");

  // Shared, and seen by who it is shared with and nobody else.
  const address = ada.page.url();
  bob.expected.push(/status of 404 .*GetRecording/);
  await bob.page.goto(address);
  await bob.page.getByText("There is no such recording").waitFor();
  await ada.page.getByLabel("E-mail address").fill("bob@example.test");
  await ada.page.getByRole("button", { name: "Share", exact: true }).click();
  await ada.page.getByRole("button", { name: /^Stop sharing with/ }).waitFor();
  await bob.page.reload();
  await bob.page.getByRole("button", { name: "Download" }).waitFor();
  await ada.page.getByRole("button", { name: "Delete recording" }).click();
  await ada.page.getByRole("dialog").getByRole("button", { name: "Delete recording" }).click();
  await ada.page.getByRole("heading", { name: "My rooms" }).waitFor();
  await bob.page.reload();
  await bob.page.getByText("There is no such recording").waitFor();
  for (const person of [ada, bob]) {
    person.quiet();
    await person.close();
  }
});

test("phone numbers and the PIN, which changes", async () => {
  await addTrunk(usher, "+33123456789");
  const anyone = createUsherClient({ baseUrl: usher.url });
  for (let waited = 0; !(await anyone.config.getConfig({})).config?.telephony?.enabled; waited++) {
    assert.ok(waited < 300, "telephony stays off");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const ada = await Person.open(browser, usher);
  await ada.signIn("Ada Lovelace");
  const path = await ada.createRoom("By phone");
  await ada.page.goto(`/-/rooms${path}`);
  const pin = ada.page.locator(".pin");
  await pin.waitFor();
  await ada.page.getByRole("link", { name: /\+33/ }).waitFor();
  const first = (await pin.textContent()) ?? "";
  assert.match(first, /^\d{3} \d{3} \d{4}#$/);
  await ada.accessible("phone");
  await ada.screenshot("phone");
  await ada.page.getByRole("button", { name: "New PIN" }).click();
  await ada.page.getByRole("dialog").getByRole("button", { name: "New PIN" }).click();
  await ada.page.getByText("The room has a new PIN.").waitFor();
  await ada.page.waitForFunction((before) => document.querySelector(".pin")?.textContent !== before, first);

  await ada.page.goto(path);
  await ada.join();
  await ada.page.getByRole("button", { name: "Invite", exact: true }).click();
  await ada.page
    .locator(".invitation")
    .getByText(/PIN: \d{3} \d{3} \d{4}#/)
    .waitFor();
  await ada.screenshot("invitation with phone");
  ada.quiet();
  await ada.close();
});

/** Gives LiveKit a trunk, as the operator of a phone bridge does. @param {Usher} usher @param {string} number */
async function addTrunk(usher, number) {
  const settings = readFileSync(join(usher.data, "livekit.yaml"), "utf8");
  const [, key = "", secret = ""] = /keys:\s*\{?\s*"?([\w-]+)"?\s*:\s*"?([^"}\s]+)/.exec(settings) ?? [];
  const [, port] = /^port:\s*(\d+)/m.exec(settings) ?? [];
  const part = (/** @type {object} */ o) => Buffer.from(JSON.stringify(o)).toString("base64url");
  const claims = `${part({ alg: "HS256", typ: "JWT" })}.${part({ iss: key, exp: Math.floor(Date.now() / 1000) + 600, sip: { admin: true } })}`;
  const token = `${claims}.${createHmac("sha256", secret).update(claims).digest("base64url")}`;
  const answer = await fetch(`http://127.0.0.1:${port}/twirp/livekit.SIP/CreateSIPInboundTrunk`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ trunk: { name: "tests", numbers: [number] } }),
  });
  assert.equal(answer.status, 200, await answer.text());
}
