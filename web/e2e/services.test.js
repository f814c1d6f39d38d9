// What comes with the other services: recordings, invitations by mail, phone numbers and callers.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
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

test("an invitation, from the mail to the meeting", async () => {
  const ada = await Person.open(browser, usher);
  const guest = await Person.open(browser, usher);
  await ada.signIn("Ada Lovelace");
  const path = await ada.createRoom("By invitation");
  await ada.page.goto(`/-/rooms${path}`);
  const form = ada.page.getByRole("form", { name: "Send invitations" });
  await form.getByRole("button", { name: "Send" }).click();
  await form.getByText("Type at least one address.").waitFor();
  await form.getByLabel("E-mail addresses").fill("charles@people.example, not an address");
  await form.getByLabel("Message").fill("About the engine");
  await form.getByLabel("At a certain time").check();
  await form.getByLabel("Repeats").selectOption("Every week");
  await form.getByLabel("Enter without waiting").check();
  await form.getByLabel("At a certain time").uncheck();
  await ada.accessible("inviting");
  await ada.screenshot("invitations, form");
  await form.getByRole("button", { name: "Send" }).click();
  await ada.page.getByText("1 invitation is on its way").waitFor();
  await form
    .getByText(/cannot receive mail/)
    .first()
    .waitFor();
  const lines = ada.page.getByRole("listitem").filter({ hasText: "charles@people.example" });
  await lines.getByText("sent", { exact: true }).waitFor({ timeout: 60_000 });
  await ada.screenshot("invitations, sent");

  // The letter as it was caught, in the mailbox of `usher dev`.
  await guest.page.goto("/-/development/mail/0");
  const [link] = /http:\/\/localhost:\d+\/i\/[\w-]+/.exec(await guest.page.locator("body").innerText()) ?? [];
  assert.ok(link, "the letter has a personal link");
  await guest.page.goto(link);
  await guest.screenshot("invitation page");
  await guest.page.locator("button[value=join]").click();
  await guest.page.getByLabel("Your name").waitFor();
  assert.equal(new URL(guest.page.url()).hash, "", "the token does not stay in the address");
  await guest.page.getByLabel("Your name").fill("Charles");
  await guest.page.getByRole("button", { name: "Ask to join" }).click();
  await guest.page.getByRole("button", { name: "Leave", exact: true }).waitFor();

  await lines.getByRole("button", { name: "Actions for charles@people.example" }).click();
  await ada.page.getByRole("menuitem", { name: "Withdraw" }).click();
  await ada.page.getByRole("dialog").getByRole("button", { name: "Withdraw" }).click();
  await lines.getByText("withdrawn").waitFor();
  for (const person of [ada, guest]) {
    person.quiet();
    await person.close();
  }
});

test("phone numbers and the PIN, which changes", async () => {
  await addTrunk(usher, "+33123456789");
  const anyone = createUsherClient({ baseUrl: usher.url });
  for (let waited = 0; !(await anyone.config.getConfig({})).config?.telephony?.enabled; waited++) {
    assert.ok(waited < 1500, "telephony stays off");
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

test("a phone caller waits at the door, unseen and unheard, and is let in", async () => {
  const ada = await Person.open(browser, usher);
  await ada.signIn("Ada Lovelace");
  const path = await ada.createRoom("With callers");
  await ada.join();
  await ada.people();
  const host = createUsherClient({ baseUrl: usher.url });
  const { room } = await host.rooms.getRoom({ room: path.slice(1) });
  assert.ok(room);

  // As livekit-sip comes into a room: by a token of its own kind, with the attributes of the rule and of the call.
  const line = await Person.open(browser, usher);
  const client = createRequire(import.meta.url).resolve("livekit-client");
  await line.page.goto("/-/nothing");
  await line.page.evaluate(readFileSync(client.replace(/[^/]+$/, "livekit-client.umd.js"), "utf8"));
  const { url, token } = liveKit(usher, {
    sub: "sip_test-caller",
    name: "Phone +33600001234",
    kind: "sip",
    attributes: { "sip.callID": "SCL_test-call", "sip.phoneNumber": "+33600001234", lobby: "waiting" },
    video: { roomJoin: true, room: room.id, canPublish: true, canSubscribe: true, canPublishData: true },
  });
  await line.page.evaluate(
    async ([url, token]) => {
      // @ts-expect-error the script above puts it there
      const { Room } = window.LivekitClient;
      const room = new Room();
      await room.connect(url, token);
      await room.localParticipant.setMicrophoneEnabled(true).catch(() => {});
      Object.assign(window, { room });
    },
    /** @type {const} */ ([url.replace("http", "ws"), token]),
  );
  await ada.page.getByRole("heading", { name: "At the door (1)" }).waitFor();
  const waiter = ada.page.getByRole("region", { name: "At the door" }).getByRole("listitem");
  await waiter.getByText("on the phone").waitFor();
  await ada.page.getByRole("heading", { name: "In the meeting (1)" }).waitFor();
  assert.equal(await ada.page.locator(".tile").count(), 1, "a caller who is held has no tile");
  assert.equal(await ada.page.locator("audio").count(), 0, "and no sound");
  await ada.screenshot("caller at the door");

  await waiter.getByRole("button", { name: "Let in" }).click();
  await ada.page.getByRole("heading", { name: "In the meeting (2)" }).waitFor();
  await ada.page.locator("audio").first().waitFor({ state: "attached" });
  await ada.page.locator(".tile").nth(1).waitFor();
  await ada.screenshot("caller in the meeting");
  for (const person of [ada, line]) await person.close();
});

/**
 * The address of LiveKit, and a token for it, as the operator's other programs have.
 * @param {Usher} usher
 * @param {object} claims
 */
function liveKit(usher, claims) {
  const settings = readFileSync(join(usher.data, "livekit.yaml"), "utf8");
  const [, key = "", secret = ""] = /keys:\s*\{?\s*"?([\w-]+)"?\s*:\s*"?([^"}\s]+)/.exec(settings) ?? [];
  const [, port] = /^port:\s*(\d+)/m.exec(settings) ?? [];
  const part = (/** @type {object} */ o) => Buffer.from(JSON.stringify(o)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ iss: key, exp: Math.floor(Date.now() / 1000) + 600, ...claims })}`;
  return {
    url: `http://127.0.0.1:${port}`,
    token: `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`,
  };
}

/** Gives LiveKit a trunk, as the operator of a phone bridge does. @param {Usher} usher @param {string} number */
async function addTrunk(usher, number) {
  const { url, token } = liveKit(usher, { sip: { admin: true } });
  const answer = await fetch(`${url}/twirp/livekit.SIP/CreateSIPInboundTrunk`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ trunk: { name: "tests", numbers: [number] } }),
  });
  assert.equal(answer.status, 200, await answer.text());
}
