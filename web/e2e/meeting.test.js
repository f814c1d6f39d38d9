// A host, a guest, and what happens between them, in two browsers and on a real LiveKit.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
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
  usher = await Usher.start(scope);
  browser = await launch(scope);
});
after(async () => {
  for (const clean of cleanups) await clean();
});

for (const [device, options] of devices) {
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
    await bob.look(`lobby, ${device}`);

    // Nobody loads a page again: the list shows who comes.
    await ada.page.getByText("Bob waits at the door").waitFor();
    await ada.people();
    await ada.page.getByRole("heading", { name: "At the door (1)" }).waitFor();
    await ada.look(`waiting list, ${device}`);
    await ada.admit("Bob");
    await Promise.all([ada.sees("Bob"), bob.sees("Ada Lovelace")]);
    await ada.page.getByRole("heading", { name: "In the meeting (2)" }).waitFor();
    await ada.page.getByRole("listitem").filter({ hasText: "Bob" }).getByText("not signed in").waitFor();
    await ada.look(`people, ${device}`);
    await bob.look(`call, ${device}`);

    await bob.page.getByRole("button", { name: "Raise hand" }).click();
    await ada.page.getByText("Bob raises a hand").waitFor();
    await ada.page.getByRole("listitem").filter({ hasText: "Bob" }).getByText("hand is up").waitFor();
    await ada.act("Bob", "Lower hand");
    await bob.page.getByRole("button", { name: "Raise hand" }).waitFor();

    await ada.act("Bob", "Mute");
    await bob.page.getByRole("button", { name: "Unmute" }).waitFor();

    await ada.act("Bob", "Remove");
    await ada.look(`removal, ${device}`);
    await ada.page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await bob.page.getByRole("heading", { name: "You were removed" }).waitFor();
    await bob.look(`removed, ${device}`);
    await ada.page.getByRole("heading", { name: "In the meeting (1)" }).waitFor();

    // They cannot come back: they are at the door again, and a page loaded anew is there too.
    await bob.page.getByRole("button", { name: "Join again" }).click();
    await bob.page.getByRole("button", { name: "Ask to join" }).waitFor();
    await bob.page.reload();
    await bob.page.getByRole("button", { name: "Ask to join" }).click();
    await bob.page.getByRole("heading", { name: "You are at the door" }).waitFor();

    await ada.page.getByRole("button", { name: "Turn away Bob" }).click();
    await bob.page.getByRole("heading", { name: "You were not let in" }).waitFor();
    await bob.look(`denied, ${device}`);
    assert.equal(await bob.page.getByRole("button", { name: "Ask again" }).isDisabled(), true);

    await ada.close();
    await bob.close();
  });
}

for (const [device, options] of devices) {
  test(`an account that is kept out cannot come back, on ${device}`, async () => {
    const ada = await Person.open(browser, usher, options);
    const bob = await Person.open(browser, usher, options);
    await ada.signIn("Ada Lovelace");
    // Nobody has to wait here: the block alone keeps Bob out.
    const path = await ada.createRoom("Kept out", "Open");
    await ada.join();
    const account = `Bob on ${device}`;
    await bob.signIn(account, path);
    await bob.join();
    await bob.sees("Ada Lovelace");
    await ada.people();
    await ada.act(account, "Remove");
    await ada.page.getByLabel("Keep this account out for a day").check();
    await ada.look(`keeping out, ${device}`);
    await ada.page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
    await bob.page.getByRole("heading", { name: "You were removed" }).waitFor();
    await ada.page.getByRole("heading", { name: "In the meeting (1)" }).waitFor();

    const keptOut = /status of 403 .*RequestEntry/;
    const elsewhere = await Person.open(browser, usher, options);
    const tries = [
      { person: bob, come: () => bob.page.getByRole("button", { name: "Join again" }).click() },
      { person: bob, come: () => bob.page.reload() },
      { person: elsewhere, come: () => elsewhere.signIn(account, path) },
    ];
    for (const { person, come } of tries) {
      person.expected.push(keptOut);
      await come();
      await person.page.getByRole("button", { name: /^(Join now|Ask to join)$/ }).click();
      await person.page.getByRole("alert").getByText("A host put you out of this meeting.").waitFor();
      assert.equal(await person.page.getByRole("button", { name: "Try again" }).count(), 0, "trying again is of no use");
    }
    await bob.look(`kept out, ${device}`);
    assert.equal(await ada.page.getByRole("heading", { name: /^At the door/ }).count(), 0, "nobody knocks");
    await ada.page.getByRole("heading", { name: "In the meeting (1)" }).waitFor();
    for (const person of [ada, bob, elsewhere]) await person.close();
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
    await person.close();
  }
});
