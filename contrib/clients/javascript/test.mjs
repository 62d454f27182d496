// node test.mjs ../vectors.json: compares the links with the vectors.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { Signer } from "./imgkeep.mjs";

process.env.TZ = "Pacific/Auckland"; // of the site: links do not depend on it

const { vectors } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const made = vectors.filter((v) => !v.bucketless); // no client makes the older scheme
for (const v of made) {
  const signer = new Signer("", v.secret);
  const options = { size: v.size, bucket: v.bucket, proxy: v.proxy, at: v.time };
  assert.equal(await signer.link(v.url, options), v.link, v.name);
  assert.equal(await signer.link(v.url, options), v.link, v.name + ", again");
}

// One signer over many weeks: its keys are those of the time.
const signer = new Signer("", "1234");
for (const v of made.filter((v) => v.secret === "1234")) {
  assert.equal(await signer.link(v.url, { size: v.size, bucket: v.bucket, proxy: v.proxy, at: v.time }), v.link, v.name);
}

assert.throws(() => new Signer("", ""), TypeError);
assert.throws(() => new Signer("", undefined), TypeError);
await assert.rejects(signer.link("https://example.com/", { size: "150x", proxy: true }), TypeError);
const other = new Signer("https://img.example.net/", "1234", { bucket: "f" });
assert.match(await other.link("https://example.com/"), /^https:\/\/img\.example\.net\/f\/full\//);
assert.doesNotMatch(inspect(other, { showHidden: true }) + JSON.stringify(other), /1234/);

console.log(`${made.length} vectors`);
