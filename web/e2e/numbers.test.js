// What the app weighs, and how long letting somebody in takes. The second is told, not judged: machines differ.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
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
  usher = await Usher.start(scope);
  browser = await launch(scope);
});
after(async () => {
  for (const clean of cleanups) await clean();
});

/** How much is loaded until what `load` does is done, in bytes on the wire. @param {Person} person @param {() => Promise<void>} load */
async function weight(person, load) {
  const network = await person.context.newCDPSession(person.page);
  await network.send("Network.enable");
  let bytes = 0;
  /** @type {string[]} */
  const urls = [];
  network.on("Network.loadingFinished", (event) => (bytes += event.encodedDataLength));
  network.on("Network.responseReceived", (event) => urls.push(event.response.url));
  await load();
  await person.page.waitForLoadState("networkidle");
  await network.detach();
  return { bytes, urls };
}

test("the first page and the page of a room weigh at most 250 KB, without the call", async () => {
  const ada = await Person.open(browser, usher);
  await ada.signIn("Ada Lovelace");
  const path = await ada.createRoom("Weight");
  for (const address of ["/", path]) {
    const visitor = await Person.open(browser, usher);
    const { bytes, urls } = await weight(visitor, async () => {
      await visitor.page.goto(address);
      await visitor.page.getByRole("heading", { level: 1 }).waitFor();
    });
    console.log(`RESULT name=web-first-load page=${address} value=${Math.round(bytes / 1000)} unit=KB`);
    assert.ok(bytes > 20_000 && bytes <= 250_000, `${address} loads ${bytes} bytes`);
    assert.deepEqual(
      urls.filter((url) => /call-/.test(url)),
      [],
      "the call is loaded on demand",
    );
    await visitor.close();
  }
  // The second time, names that carry a hash are not even asked for.
  const { bytes } = await weight(ada, async () => {
    await ada.page.goto(path);
    await ada.page.getByRole("heading", { level: 1 }).waitFor();
  });
  assert.ok(bytes < 20_000, `the second time it loads ${bytes} bytes`);
  await ada.close();
});

test("from Let in to seeing the guest", async () => {
  const ada = await Person.open(browser, usher);
  await ada.signIn("Ada Lovelace");
  const path = await ada.createRoom("How long");
  await ada.join();
  await ada.people();
  /** @type {number[]} */
  const took = [];
  for (let n = 1; n <= 5; n++) {
    const guest = await Person.open(browser, usher);
    const name = `Guest ${n}`;
    await guest.page.goto(path);
    await guest.knock(name);
    await ada.page.getByRole("button", { name: `Let in ${name}` }).waitFor();
    const start = performance.now();
    await ada.admit(name);
    await ada.sees(name, 1);
    took.push(performance.now() - start);
    await guest.close();
    await ada.page.getByRole("region", { name, exact: true }).waitFor({ state: "detached" });
  }
  const median = took.toSorted((a, b) => a - b)[2] ?? 0;
  console.log(
    `RESULT name=web-admit-to-video value=${Math.round(median)} unit=ms of=5 all=${took.map(Math.round).join(",")}`,
  );
  assert.ok(median < 20_000, `the median is ${median} ms`);
  await ada.close();
});
