// Guests keep their place, whatever happens to their page or to the server.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { AccessLevel, createUsherClient } from "@usher-meet/client";
import { folder, freePort, mustEnv, Program, Usher } from "../testing/usher.js";
import { devices, launch, onPhone, Person } from "./browser.js";

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
  test(`a guest who loads the page again keeps the place, on ${device}`, async () => {
    const ada = await Person.open(browser, usher, options);
    const bob = await Person.open(browser, usher, options);
    const carol = await Person.open(browser, usher, options);
    await ada.signIn("Ada Lovelace");
    const path = await ada.createRoom("Queue");
    for (const [guest, name] of /** @type {const} */ ([
      [bob, "Bob"],
      [carol, "Carol"],
    ])) {
      await guest.page.goto(path);
      await guest.knock(name);
    }
    await bob.page.getByText("You are next").waitFor();
    await carol.page.getByText("Place 2 in the queue").waitFor();

    // No click and no typing: the page knows.
    await bob.page.reload();
    await bob.page.getByText("You are next").waitFor();
    await bob.page.getByText("You wait as Bob").waitFor();

    await ada.join();
    await ada.people();
    await ada.page.getByRole("heading", { name: "At the door (2)" }).waitFor();
    const names = await ada.page.getByRole("region", { name: "At the door" }).getByRole("listitem").allInnerTexts();
    assert.deepEqual(
      names.map((text) => (text.includes("Bob") ? "Bob" : "Carol")),
      ["Bob", "Carol"],
      "the order",
    );

    // Who gives up is gone, and the next one is next.
    await bob.page.getByRole("button", { name: "Stop waiting" }).click();
    await bob.page.getByRole("button", { name: "Ask to join" }).waitFor();
    await carol.page.getByText("You are next").waitFor();
    await bob.knock("Bob");

    await ada.page.getByRole("heading", { name: "At the door (2)" }).waitFor();
    await ada.page.getByRole("button", { name: "Let all in" }).click();
    await Promise.all([bob.sees("Ada Lovelace"), carol.sees("Ada Lovelace")]);
    for (const person of [ada, bob, carol]) {
      await person.close();
    }
  });
}

test("a guest who was let in and loads the page again needs nobody", async () => {
  const ada = await Person.open(browser, usher);
  const bob = await Person.open(browser, usher);
  await ada.signIn("Ada Lovelace");
  const path = await ada.createRoom("Reload");
  await ada.join();
  await bob.page.goto(path);
  await bob.knock("Bob");
  await ada.people();
  await ada.admit("Bob");
  await bob.sees("Ada Lovelace");
  await bob.page.reload();
  await bob.page.getByRole("button", { name: "Ask to join" }).click();
  await bob.sees("Ada Lovelace");
  for (const person of [ada, bob]) {
    await person.close();
  }
});

test("a room that opens lets in who waits", async () => {
  const ada = await Person.open(browser, usher);
  const bob = await Person.open(browser, usher);
  await ada.signIn("Ada Lovelace");
  const path = await ada.createRoom("Opens");
  await bob.page.goto(path);
  await bob.knock("Bob");
  await ada.page.goto(`/-/rooms${path}`);
  await ada.page.getByRole("radio", { name: "Open" }).click();
  await ada.page.getByText("Saved").waitFor();
  await bob.page.getByRole("button", { name: "Leave", exact: true }).waitFor();
  for (const person of [ada, bob]) {
    await person.close();
  }
});

// `usher dev` has its Redis in the program, and takes it along: here both are what production has.
test("the server is restarted while guests wait", async () => {
  const data = folder(scope);
  const [port, internal, redis] = [await freePort(), await freePort(), await freePort()];
  const server = new Program(scope, mustEnv("USHER_TEST_REDIS_SERVER"), [
    ...["--bind", "127.0.0.1", "--port", String(redis), "--save", "", "--dir", data],
  ]);
  await server.printed(/Ready to accept connections/);
  const program = mustEnv("USHER_TEST_PROGRAM");
  const made = JSON.parse(
    execFileSync(program, ["token", "hash", "tests", "--scope", "rooms", "--json"], { encoding: "utf8" }),
  );
  const env = {
    USHER_PUBLIC_URL: `http://localhost:${port}`,
    USHER_LISTEN: `127.0.0.1:${port}`,
    USHER_LISTEN_INTERNAL: `127.0.0.1:${internal}`,
    USHER_DATABASE_URL: `sqlite:${join(data, "usher.db")}`,
    USHER_REDIS_ADDRESSES: `127.0.0.1:${redis}`,
    USHER_SECRET: "test-secret-of-a-server-that-is-restarted",
    // Nobody meets in this test.
    USHER_LIVEKIT_URL: "http://127.0.0.1:9",
    USHER_LIVEKIT_PUBLIC_URL: "ws://127.0.0.1:9",
    USHER_LIVEKIT_KEY: "test-key",
    USHER_LIVEKIT_SECRET: "test-livekit-secret-of-32-characters",
    USHER_SERVICE_TOKENS: made.setting,
  };
  execFileSync(program, ["migrate", "up"], { env: { ...process.env, ...env }, stdio: "pipe" });
  const serve = async () => {
    const running = new Program(scope, program, ["serve"], env);
    await running.printed(/listening/);
    return running;
  };
  let running = await serve();
  const service = createUsherClient({ baseUrl: env.USHER_PUBLIC_URL, token: made.token });
  const { room } = await service.rooms.createRoom({
    name: "Long wait",
    ownerEmail: "ada@people.example",
    accessLevel: AccessLevel.RESTRICTED,
  });
  assert.ok(room);

  const bob = await Person.open(browser, env.USHER_PUBLIC_URL);
  const carol = await Person.open(browser, env.USHER_PUBLIC_URL, onPhone);
  for (const [guest, name] of /** @type {const} */ ([
    [bob, "Bob"],
    [carol, "Carol"],
  ])) {
    // The browser shows that a server does not answer, and that it does not yet.
    guest.expected.push(/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET/);
    await guest.page.goto(`/${room.slug}`);
    await guest.knock(name);
  }
  await bob.page.getByText("You are next").waitFor();
  await carol.page.getByText("Place 2 in the queue").waitFor();

  for (const end of /** @type {const} */ (["stop", "kill"])) {
    await running[end]();
    for (const guest of [bob, carol]) await guest.page.getByText("Your place is kept.").waitFor();
    await carol.look(`lobby, server away after a ${end}`);
    running = await serve();
    for (const guest of [bob, carol]) await guest.page.getByText("Your place is kept.").waitFor({ state: "detached" });
    await bob.page.getByText("You are next").waitFor();
    await carol.page.getByText("Place 2 in the queue").waitFor();
  }
  for (const guest of [bob, carol]) {
    await guest.close();
  }
});
