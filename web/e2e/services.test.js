// What comes with the other services: recordings, invitations by mail, phone numbers and callers.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createUsherClient } from "@usher-meet/client";
import { Usher } from "../testing/usher.js";
import { devices, launch, Person } from "./browser.js";

/** @type {(() => unknown)[]} */
const cleanups = [];
const scope = { after: (/** @type {() => unknown} */ fn) => cleanups.unshift(fn) };
/** @type {Usher} */
let usher;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  usher = await Usher.start(scope, { USHER_TELEPHONY_SWEEP: "1s", USHER_RECORDING_SWEEP: "1s" });
  await addTrunk(usher, "+33123456789");
  // It looks for trunks every minute.
  const anyone = createUsherClient({ baseUrl: usher.url });
  for (let waited = 0; !(await anyone.config.getConfig({})).config?.telephony?.enabled; waited++) {
    assert.ok(waited < 1500, "telephony stays off");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  browser = await launch(scope);
});
after(async () => {
  for (const clean of cleanups) await clean();
});

for (const [device, options] of devices) {
  test(`a recording, from the start to the download, on ${device}`, async () => {
    const ada = await Person.open(browser, usher, options);
    const bob = await Person.open(browser, usher, options);
    await ada.signIn("Ada Lovelace");
    const path = await ada.createRoom("Recorded");
    await ada.join();
    await bob.signIn("Bob", path);
    await bob.knock("Bob");
    await ada.people();
    await ada.admit("Bob");
    await bob.sees("Ada Lovelace");
    await ada.page.keyboard.press("Escape");

    await ada.page.getByRole("button", { name: "Actions for Recorded" }).click();
    await ada.page.getByRole("menuitem", { name: "Record" }).click();
    await ada.look(`recording, asked, ${device}`);
    await ada.page.getByRole("dialog").getByRole("button", { name: "Record" }).click();
    // The stand-in for the recorder does not come into the room, by which LiveKit would tell the others.
    await ada.page.locator(".recorded").waitFor();
    await ada.look(`recording, running, ${device}`);
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
    await ada.look(`recording, ${device}`);
    await ada.page.emulateMedia({ colorScheme: "dark" });
    await ada.look(`recording, dark, ${device}`);
    await ada.page.emulateMedia({ colorScheme: "light" });
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
      await person.close();
    }
  });
}

for (const [device, options] of devices) {
  test(`an invitation, from the mail to the meeting, on ${device}`, async () => {
    const ada = await Person.open(browser, usher, options);
    const guest = await Person.open(browser, usher, options);
    await ada.signIn("Ada Lovelace");
    const path = await ada.createRoom("By invitation");
    const address = `charles.on.${device.replace(" ", ".")}@people.example`;
    await ada.page.goto(`/-/rooms${path}`);
    const form = ada.page.getByRole("form", { name: "Send invitations" });
    await form.getByRole("button", { name: "Send" }).click();
    await form.getByText("Type at least one address.").waitFor();
    await form.getByLabel("E-mail addresses").fill(`${address}, not an address`);
    await form.getByLabel("Message").fill("About the engine");
    await form.getByLabel("At a certain time").check();
    await form.getByLabel("Repeats").selectOption("Every week");
    await form.getByLabel("Enter without waiting").check();
    await form.getByLabel("At a certain time").uncheck();
    await ada.look(`invitations, form, ${device}`);
    await form.getByRole("button", { name: "Send" }).click();
    await ada.page.getByText("1 invitation is on its way").waitFor();
    await form
      .getByText(/cannot receive mail/)
      .first()
      .waitFor();
    const lines = ada.page.getByRole("listitem").filter({ hasText: address });
    await lines.getByText("sent", { exact: true }).waitFor({ timeout: 60_000 });
    await ada.look(`invitations, sent, ${device}`);

    // It gets a time, after all: now, because the link lets in without waiting around that time only.
    await lines.getByRole("button", { name: `Actions for ${address}` }).click();
    await ada.page.getByRole("menuitem", { name: "Change" }).click();
    const dialog = ada.page.getByRole("dialog");
    await dialog.getByLabel("At a certain time").check();
    await dialog.getByLabel("Begins").fill(localTime(5));
    await dialog.getByLabel("Ends").fill(localTime(4));
    await dialog.getByRole("button", { name: "Send change" }).click();
    await dialog.getByText("It has to end after it begins.").waitFor();
    await ada.look(`invitation, changed, ${device}`);
    await dialog.getByLabel("Ends").fill(localTime(65));
    await dialog.getByLabel("Repeats").selectOption("Every week");
    await dialog.getByRole("button", { name: "Send change" }).click();
    await ada.page.getByText("The change is on its way.").waitFor();
    await lines.getByText("Every week").waitFor();
    await lines.getByText("sent", { exact: true }).waitFor({ timeout: 60_000 });
    // What was chosen is there again, and to send nothing new is no letter.
    await lines.getByRole("button", { name: `Actions for ${address}` }).click();
    await ada.page.getByRole("menuitem", { name: "Change" }).click();
    assert.equal(await dialog.getByLabel("Repeats").inputValue(), "weekly");
    assert.equal(await dialog.getByLabel("Message").inputValue(), "About the engine");
    await dialog.getByRole("button", { name: "Send change" }).click();
    await dialog.waitFor({ state: "detached" });

    // The letters as they were caught, in the mailbox of `usher dev`: the last one is on top.
    await guest.page.goto("/-/development/mail");
    const letters = guest.page.getByRole("row").filter({ hasText: address });
    assert.equal(await letters.count(), 2, "letters");
    await letters.first().getByRole("link").click();
    await guest.page.waitForURL(/\/mail\/\d+$/);
    await guest.look(`letter, ${device}`);
    const [link] = /http:\/\/localhost:\d+\/i\/[\w-]+/.exec(await guest.page.locator("body").innerText()) ?? [];
    assert.ok(link, "the letter has a personal link");
    await guest.page.goto(link);
    await guest.look(`invitation page, ${device}`);
    await guest.page.getByRole("button", { name: "Maybe" }).click();
    await guest.page.getByRole("status").waitFor();
    await guest.page.emulateMedia({ colorScheme: "dark" });
    await guest.look(`invitation page, answered, dark, ${device}`);
    await guest.page.emulateMedia({ colorScheme: "light" });
    for (const [language, join] of /** @type {const} */ ([
      ["fr", "Rejoindre la réunion"],
      ["de", "An der Besprechung teilnehmen"],
      ["nl", "Deelnemen aan de vergadering"],
    ])) {
      const reader = await Person.open(browser, usher, { ...options, locale: language });
      await reader.page.goto(link);
      await reader.page.getByRole("button", { name: join }).waitFor();
      await reader.look(`invitation page, ${language}, ${device}`);
      await reader.close();
    }
    await guest.page.locator("button[value=join]").click();
    await guest.page.getByLabel("Your name").waitFor();
    assert.equal(new URL(guest.page.url()).hash, "", "the token does not stay in the address");
    await guest.page.getByLabel("Your name").fill("Charles");
    await guest.page.getByRole("button", { name: "Ask to join" }).click();
    await guest.page.getByRole("button", { name: "Leave", exact: true }).waitFor();

    await lines.getByRole("button", { name: `Actions for ${address}` }).click();
    await ada.page.getByRole("menuitem", { name: "Withdraw" }).click();
    await ada.page.getByRole("dialog").getByRole("button", { name: "Withdraw" }).click();
    await lines.getByText("withdrawn").waitFor();
    guest.expected.push(/status of 410 /);
    await guest.page.goto(link);
    await guest.look(`invitation page, withdrawn, ${device}`);
    for (const person of [ada, guest]) {
      await person.close();
    }
  });
}

for (const [device, options] of devices) {
  test(`phone numbers and the PIN, which changes, on ${device}`, async () => {
    const ada = await Person.open(browser, usher, options);
    await ada.signIn("Ada Lovelace");
    const path = await ada.createRoom("By phone");
    await ada.page.goto(`/-/rooms${path}`);
    const pin = ada.page.locator(".pin");
    await pin.waitFor();
    await ada.page.getByRole("link", { name: /\+33/ }).waitFor();
    const first = (await pin.textContent()) ?? "";
    assert.match(first, /^\d{3} \d{3} \d{3}#$/);
    await ada.look(`phone, ${device}`);
    await ada.page.getByRole("button", { name: "New PIN" }).click();
    await ada.page.getByRole("dialog").getByRole("button", { name: "New PIN" }).click();
    await ada.page.getByText("The room has a new PIN.").waitFor();
    await ada.page.waitForFunction((before) => document.querySelector(".pin")?.textContent !== before, first);

    await ada.page.goto(path);
    await ada.join();
    await ada.invite("By phone");
    await ada.page
      .locator(".invitation")
      .getByText(/PIN: \d{3} \d{3} \d{3}#/)
      .waitFor();
    await ada.look(`invitation with phone, ${device}`);
    await ada.close();
  });
}

for (const [device, options] of devices) {
  test(`a phone caller waits at the door, unseen and unheard, and is let in, on ${device}`, async () => {
    const ada = await Person.open(browser, usher, options);
    await ada.signIn("Ada Lovelace");
    const path = await ada.createRoom("With callers");
    await ada.join();
    await ada.people();
    const host = createUsherClient({ baseUrl: usher.url });
    const { room } = await host.rooms.getRoom({ room: path.slice(1) });
    assert.ok(room);

    // As livekit-sip comes into a room: by a token of its own kind, with the attributes of the rule and of the call, and with
    // nothing of the number but its end.
    const line = await Person.open(browser, usher);
    const client = createRequire(import.meta.url).resolve("livekit-client");
    await line.page.goto("/-/nothing");
    await line.page.evaluate(readFileSync(client.replace(/[^/]+$/, "livekit-client.umd.js"), "utf8"));
    const { url, token } = liveKit(usher, {
      sub: "sip_0123456789abcdef",
      name: "Phone 1234",
      kind: "sip",
      attributes: { "sip.callID": "SCL_test-call", lobby: "waiting" },
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
    await ada.look(`caller at the door, ${device}`);

    await waiter.getByRole("button", { name: "Let in" }).click();
    await ada.page.getByRole("heading", { name: "In the meeting (2)" }).waitFor();
    await ada.page.locator("audio").first().waitFor({ state: "attached" });
    await ada.page.locator(".tile").nth(1).waitFor();
    await ada.look(`caller in the meeting, ${device}`);
    for (const person of [ada, line]) await person.close();
  });
}

/** A moment as an input for date and time wants it. @param {number} minutes from now */
function localTime(minutes) {
  const now = new Date();
  return new Date(now.getTime() + (minutes - now.getTimezoneOffset()) * 60_000).toISOString().slice(0, 16);
}

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
