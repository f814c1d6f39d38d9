// A host, a guest, and what happens between them, in two browsers and on a real LiveKit.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Usher } from "../testing/usher.js";
import { launch, Person, phone } from "./browser.js";

/** @type {(() => unknown)[]} */
const cleanups = [];
const scope = { after: (/** @type {() => unknown} */ fn) => cleanups.unshift(fn) };
/** @type {Usher} */
let usher;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  usher = await Usher.start(scope);
  browser = await launch(scope);
});
after(async () => {
  for (const clean of cleanups) await clean();
});

for (const [device, options] of /** @type {const} */ ([
  ["a computer", {}],
  ["a phone", { viewport: phone, hasTouch: true, isMobile: true }],
])) {
  test(`a meeting from knocking to removal, on ${device}`, async () => {
    const ada = await Person.open(browser, usher, options);
    const bob = await Person.open(browser, usher, options);
    const name = `Engines on ${device}`;
    await ada.signIn("Ada Lovelace");
    const path = await ada.createRoom(name);
    await ada.join();

    await bob.page.goto(path);
    await bob.knock("Bob");
    await bob.page.getByText("You are next").waitFor();
    await bob.screenshot(`lobby, ${device}`);

    // Nobody loads a page again: the list shows who comes.
    await ada.page.getByText("Bob waits at the door").waitFor();
    await ada.people();
    await ada.page.getByRole("heading", { name: "At the door (1)" }).waitFor();
    await ada.screenshot(`waiting list, ${device}`);
    await ada.admit("Bob");
    await Promise.all([ada.sees("Bob"), bob.sees("Ada Lovelace")]);
    await ada.page.getByRole("heading", { name: "In the meeting (2)" }).waitFor();
    await ada.page.getByRole("listitem").filter({ hasText: "Bob" }).getByText("not signed in").waitFor();
    await ada.screenshot(`people, ${device}`);
    await bob.screenshot(`call, ${device}`);

    await bob.page.getByRole("button", { name: "Raise hand" }).click();
    await ada.page.getByText("Bob raises a hand").waitFor();
    await ada.page.getByRole("listitem").filter({ hasText: "Bob" }).getByText("hand is up").waitFor();
    await ada.act("Bob", "Lower hand");
    await bob.page.getByRole("button", { name: "Raise hand" }).waitFor();

    await ada.act("Bob", "Mute");
    await bob.page.getByRole("button", { name: "Unmute" }).waitFor();

    await ada.act("Bob", "Remove");
    await ada.screenshot(`removal, ${device}`);
    await ada.page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await bob.page.getByRole("heading", { name: "You were removed" }).waitFor();
    await bob.screenshot(`removed, ${device}`);
    await ada.page.getByRole("heading", { name: "In the meeting (1)" }).waitFor();

    // They cannot come back: they are at the door again, and a page loaded anew is there too.
    await bob.page.getByRole("button", { name: "Join again" }).click();
    await bob.page.getByRole("button", { name: "Ask to join" }).waitFor();
    await bob.page.reload();
    await bob.page.getByRole("button", { name: "Ask to join" }).click();
    await bob.page.getByRole("heading", { name: "You are at the door" }).waitFor();

    await ada.page.getByRole("button", { name: "Turn away Bob" }).click();
    await bob.page.getByRole("heading", { name: "You were not let in" }).waitFor();
    await bob.screenshot(`denied, ${device}`);
    assert.equal(await bob.page.getByRole("button", { name: "Ask again" }).isDisabled(), true);

    ada.quiet();
    bob.quiet();
    await ada.close();
    await bob.close();
  });
}

test("a meeting is ended for everybody", async () => {
  const ada = await Person.open(browser, usher);
  const grace = await Person.open(browser, usher);
  await ada.signIn("Ada Lovelace");
  const path = await ada.createRoom("Open house", "Open");
  await ada.join();
  await grace.signIn("Grace Hopper", path);
  await grace.join();
  await Promise.all([ada.sees("Grace Hopper"), grace.sees("Ada Lovelace")]);

  await ada.people();
  await ada.act("Grace Hopper", "Make administrator");
  await grace.people();
  await grace.page.getByRole("button", { name: "Mute everybody" }).waitFor();
  await ada.page.getByRole("listitem").filter({ hasText: "Grace Hopper" }).getByText("Host").waitFor();

  await grace.page.getByRole("button", { name: "Actions for Open house" }).click();
  await grace.page.getByRole("menuitem", { name: "End the meeting for everybody" }).click();
  await grace.page.getByRole("dialog").getByRole("button", { name: "End the meeting for everybody" }).click();
  for (const person of [ada, grace]) {
    await person.page.getByRole("heading", { name: "The meeting is over" }).waitFor();
    person.quiet();
    await person.close();
  }
});
