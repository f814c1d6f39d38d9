// Every page: what a screen reader would stumble over, what the browser complains about, and a picture to look at.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createUsherClient } from "@usher-meet/client";
import { Usher } from "../testing/usher.js";
import { desktop, launch, onPhone, Person } from "./browser.js";

/** @type {(() => unknown)[]} */
const cleanups = [];
const scope = { after: (/** @type {() => unknown} */ fn) => cleanups.unshift(fn) };
/** @type {Usher} */
let usher;
/** @type {import("playwright-core").Browser} */
let browser;

before(async () => {
  usher = await Usher.start(scope, { USHER_BRANDING_SUPPORT_EMAIL: "help@people.example" });
  browser = await launch(scope);
});
after(async () => {
  for (const clean of cleanups) await clean();
});

/** The longest that people type, in one word and in many. */
const longName = `Rindfleischetikettierungsüberwachungsaufgabenübertragungsgesetz ${"and so on ".repeat(12)}`.trim();

const looks = /** @type {const} */ ([
  { look: "light", options: { colorScheme: "light", viewport: desktop } },
  { look: "dark", options: { colorScheme: "dark", viewport: desktop } },
  { look: "phone", options: { ...onPhone, colorScheme: "light" } },
]);

for (const { look, options } of looks) {
  test(`pages before the meeting, ${look}`, async () => {
    const ada = await Person.open(browser, usher, options);
    const check = (/** @type {string} */ name) => ada.look(`${name}, ${look}`);
    const { page } = ada;
    await page.goto("/");
    await page.getByRole("heading", { name: "Meet. We hold the door." }).waitFor();
    await check("welcome");
    await page.getByLabel("Code or link").fill("https://elsewhere.example/x");
    await page.getByRole("button", { name: "Go" }).click();
    await page.getByText("That is no code and no link").waitFor();
    await check("welcome, wrong code");

    ada.expected.push(/status of 404 .*GetRoom/);
    await page.goto("/no-such-room");
    await page.getByText("There is no such room").waitFor();
    await check("no such room");
    await page.goto("/-/nothing");
    await page.getByRole("heading", { name: "There is nothing here" }).waitFor();
    await check("nothing here");
    await page.goto("/-/profile");
    await page.getByRole("heading", { name: "Sign in first" }).waitFor();
    await check("sign in first");

    for (const [name, address] of Object.entries({
      "development, sign-in": "/auth/login",
      "development, front page": "/-/development",
      "development, mail": "/-/development/mail",
    })) {
      await page.goto(address);
      await page.getByRole("heading", { level: 1 }).waitFor();
      await check(name);
    }
    await ada.signIn(`Ada ${look}`);
    await page.getByText("No rooms yet").waitFor();
    await check("home, empty");
    const path = await ada.createRoom("Analytical Engines");
    await page.waitForFunction(() => (document.querySelector("video")?.videoWidth ?? 0) > 0);
    await check("getting ready");
    await page.getByLabel("Your name").fill(" ");
    await page.getByRole("button", { name: "Join now" }).click();
    await page.getByText("Type your name").waitFor();
    await check("getting ready without a name");
    await ada.createRoom(longName);
    await check("getting ready, long name");
    await ada.createRoom("Open house", "Open");
    await page.goto("/");
    await page.getByRole("link", { name: "Analytical Engines", exact: true }).waitFor();
    await check("home");

    await page.goto(`/-/rooms${path}`);
    await page.getByText("(you)").waitFor();
    await page.getByLabel("E-mail address", { exact: true }).fill("charles.babbage@people.example");
    await page.getByRole("button", { name: "Add", exact: true }).click();
    await page.getByText("has not come yet").waitFor();
    await check("room settings");
    await page.getByLabel("Role of Ada").selectOption("Member");
    await page.getByText("A room needs an owner").first().waitFor();
    ada.expected.push(/status of 400 .*UpdateMember/);
    await page.getByRole("button", { name: "Delete room" }).click();
    await page.getByRole("dialog").waitFor();
    await check("delete a room");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });

    await page.goto("/-/profile");
    await page.getByRole("heading", { name: "Profile" }).waitFor();
    await check("profile");

    // What is seen when something does not work.
    ada.expected.push(/net::ERR_FAILED/);
    await page.route("**/usher.v1.RoomsService/ListRooms*", (route) => route.abort());
    await page.goto("/");
    await page.getByText("The service does not answer.").waitFor();
    await check("home, without an answer");
    await page.addInitScript(() => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "NotAllowedError"));
    });
    await page.goto(path);
    await page.getByText("Your browser does not allow the camera").waitFor();
    await check("getting ready, not allowed");
    await ada.close();
  });
}

test("the meeting, with panels and menus", async () => {
  const ada = await Person.open(browser, usher);
  const bob = await Person.open(browser, usher, onPhone);
  await ada.signIn("Ada Lovelace");
  const path = await ada.createRoom("A meeting");
  await ada.join();
  await ada.page.getByText("You are the only one here").waitFor();
  await ada.look("meeting, alone");
  await bob.page.goto(path);
  await bob.page.getByLabel("Your name").waitFor();
  await bob.knock(longName.slice(0, 100));
  await bob.look("lobby, long name");
  await ada.page.getByText("waits at the door").waitFor();
  await ada.people();
  await ada.look("meeting, long name at the door");
  await ada.page.getByRole("button", { name: "Let in Rind" }).click();
  await bob.sees("Ada Lovelace");
  await bob.people();
  await bob.look("meeting, people on a phone");
  await bob.page.keyboard.press("Escape");
  await bob.page.getByRole("heading", { name: "People", level: 2 }).waitFor({ state: "detached" });
  await bob.look("meeting on a phone");
  await ada.page.getByRole("button", { name: /^Actions for Rind/ }).click();
  await ada.look("meeting, menu");
  await ada.page.keyboard.press("ArrowDown");
  await ada.page.keyboard.press("Escape");
  await ada.page.getByRole("menu").waitFor({ state: "detached" });
  await ada.invite("A meeting");
  await ada.look("meeting, invitation");
  await ada.page.getByRole("complementary").getByRole("button", { name: "Copy invitation" }).click();
  const copied = await ada.page.evaluate(() => navigator.clipboard.readText());
  assert.ok(copied.includes(`${usher.url}${path}`), copied);
  await ada.page.getByRole("button", { name: "Leave", exact: true }).click();
  await ada.page.getByRole("heading", { name: "You have left" }).waitFor();
  await ada.look("left");
  for (const person of [ada, bob]) {
    await person.close();
  }
});

// The hardest colour that an operator can choose: one that is read on neither page.
for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
  test(`a brand of its own, ${colorScheme}`, async (t) => {
    const branded = await Usher.start(t, {
      USHER_BRANDING_NAME: "Société des Machines",
      USHER_BRANDING_PRIMARY_COLOR: colorScheme === "light" ? "#ffd500" : "#1b2a6b",
    });
    const ada = await Person.open(browser, branded, { colorScheme });
    await ada.page.goto("/");
    await ada.page.getByRole("link", { name: "Société des Machines" }).waitFor();
    await ada.look(`brand, ${colorScheme}`);
    await ada.signIn("Ada Lovelace");
    await ada.createRoom("Branded");
    await ada.look(`brand, getting ready, ${colorScheme}`);
    ada.expected.push(/status of 404 /);
    await ada.page.goto("/i/not-an-invitation");
    await ada.look(`brand, no invitation, ${colorScheme}`);
    await ada.close();
  });
}

// With the keyboard alone, from the front page to being in the meeting.
test("nothing needs a mouse", async () => {
  const ada = await Person.open(browser, usher);
  await ada.signIn("Ada Keyboard");
  const { keyboard } = ada.page;
  await ada.page.getByLabel("Name", { exact: true }).focus();
  await keyboard.type("By keyboard");
  await keyboard.press("Enter");
  await ada.page.getByRole("heading", { name: "By keyboard" }).waitFor();
  await ada.page.getByLabel("Your name").focus();
  await keyboard.press("Enter");
  await ada.page.getByRole("button", { name: "Leave", exact: true }).waitFor();
  await ada.page.getByRole("button", { name: "People", exact: true }).focus();
  await keyboard.press("Enter");
  await ada.page.getByRole("heading", { name: "People", level: 2 }).waitFor();
  await keyboard.press("Escape");
  await ada.page.getByRole("heading", { name: "People", level: 2 }).waitFor({ state: "detached" });
  const focused = await ada.page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
  assert.equal(focused, "People", "the focus returns to what opened the panel");
  await ada.close();
});

for (const [locale, language, welcome, ask, door, saved] of /** @type {const} */ ([
  ["fr-FR", "fr", "Réunissez-vous. Nous tenons la porte.", "Demander à entrer", "Vous êtes à la porte", "Enregistré"],
  ["de-CH", "de", "Besprechen Sie sich. Wir halten die Tür.", "Um Einlass bitten", "Sie stehen vor der Tür", "Gespeichert"],
  ["nl", "nl", "Vergader. Wij houden de deur open.", "Vragen om binnen te komen", "U staat aan de deur", "Opgeslagen"],
])) {
  test(`in ${language}`, async () => {
    const host = createUsherClient({ baseUrl: usher.url, token: usher.token });
    const { room } = await host.rooms.createRoom({ name: `Room ${language}`, accessLevel: 3 });
    const guest = await Person.open(browser, usher, { locale });
    await guest.page.goto("/");
    await guest.page.getByRole("heading", { name: welcome }).waitFor();
    assert.equal(await guest.page.evaluate(() => document.documentElement.lang), language);
    await guest.look(`welcome, ${language}`);
    await guest.page.goto(`/${room?.slug}`);
    await guest.page.getByRole("button", { name: ask }).waitFor();
    await guest.page.locator("input").first().fill("Zoë");
    await guest.page.getByRole("button", { name: ask }).click();
    await guest.page.getByRole("heading", { name: door }).waitFor();
    await guest.look(`lobby, ${language}`);
    await guest.close();

    // On a phone, where long words are in the way, and chosen by hand.
    const ada = await Person.open(browser, usher, onPhone);
    await ada.signIn(`Ada ${language}`, "/-/profile");
    await ada.page.getByLabel("Language", { exact: true }).selectOption(language);
    await ada.page.waitForFunction((wanted) => document.documentElement.lang === wanted, language);
    await ada.page.getByText(saved, { exact: true }).waitFor();
    await ada.look(`profile, ${language}, phone`);
    await ada.page.goto("/");
    await ada.page.waitForFunction((wanted) => document.documentElement.lang === wanted, language);
    await ada.page.locator("form").first().locator("input").first().fill(`Raum ${language}`);
    await ada.look(`home, ${language}, phone`);
    await ada.page.keyboard.press("Enter");
    await ada.page.getByRole("heading", { name: `Raum ${language}` }).waitFor();
    const slug = new URL(ada.page.url()).pathname;
    await ada.page.goto(`/-/rooms${slug}`);
    await ada.page.getByRole("heading", { level: 1 }).waitFor();
    await ada.look(`room settings, ${language}, phone`);
    await ada.page.goto(slug);
    await ada.page.locator("form input").first().focus();
    await ada.page.keyboard.press("Enter");
    await ada.page.locator(".leave").waitFor();
    const stranger = await Person.open(browser, usher, { locale, colorScheme: "dark" });
    await stranger.page.goto(slug);
    await stranger.page.locator("form input").first().fill("Zoë");
    await stranger.page.keyboard.press("Enter");
    await stranger.page.locator(".leave").waitFor();
    await ada.page.locator(".controls .group").nth(1).getByRole("button").first().click();
    await ada.page.locator(".panel .person").nth(1).waitFor();
    await ada.look(`people, ${language}, phone`);
    await ada.page.locator(".panel .person").nth(1).getByRole("button").click();
    await ada.look(`menu, ${language}, phone`);
    await stranger.page.locator(".controls .group").nth(1).getByRole("button").first().click();
    await stranger.page.locator(".panel .person").nth(1).waitFor();
    await stranger.look(`meeting, dark, ${language}`);
    await stranger.close();
    await ada.close();
  });
}
