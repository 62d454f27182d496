// node test.mjs ../vectors.json: compares the links with the vectors.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { inspect } from "node:util";
import { Signer } from "./imgkeep.mjs";
import { testRewriter } from "./test_rewriter.mjs";

process.env.TZ = "Pacific/Auckland"; // of the site: links do not depend on it

const { vectors, secrets, links, tags } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const made = vectors.filter((v) => !v.bucketless); // no client makes the older scheme
for (const v of made) {
  const signer = new Signer("", v.secret, { allowWeakSecret: true });
  const options = { size: v.size, bucket: v.bucket, proxy: v.proxy, at: v.time };
  assert.equal(await signer.link(v.url, options), v.link, v.name);
  assert.equal(await signer.link(v.url, options), v.link, v.name + ", again");
}

// One signer over many weeks: its keys are those of the time.
const signer = new Signer("", "1234", { allowWeakSecret: true });
for (const v of made.filter((v) => v.secret === "1234")) {
  assert.equal(await signer.link(v.url, { size: v.size, bucket: v.bucket, proxy: v.proxy, at: v.time }), v.link, v.name);
}

for (const c of secrets) {
  if (c.link === "") {
    assert.throws(() => new Signer("", c.text), TypeError, c.name);
  } else {
    assert.equal(await new Signer("", c.text).link(vectors[0].url, { at: vectors[0].time }), c.link, c.name);
  }
}
for (const c of links) {
  const link = signer.link(c.url, { size: c.size, bucket: c.bucket, proxy: c.proxy });
  await (c.refused ? assert.rejects(link, TypeError, c.name) : link);
}

for (const c of tags) {
  const tagged = new Signer("", c.secret).tagged(c.url, c.by);
  await (c.tagged === "" ? assert.rejects(tagged, TypeError, c.name) : tagged.then((got) => assert.equal(got, c.tagged, c.name)));
}
await assert.rejects(signer.tagged("https://example.com/", 4711), TypeError);

assert.throws(() => new Signer("", undefined), TypeError);
assert.throws(() => new Signer("", "a long enough secret\ud800"), TypeError);
assert.throws(() => new Signer("", "a long enough secret", { buket: "f" }), /buket/);
await assert.rejects(signer.link("https://example.com/", { sise: "150x" }), /sise/);
await assert.rejects(signer.link(undefined), TypeError);
for (const base of ["img.example.net", "https://img.example.net/?a=1", 'https://img.example.net/"', "https://img.example.net\n", "javascript:"]) {
  assert.throws(() => new Signer(base, "a long enough secret"), TypeError, base);
}
const other = new Signer("https://img.example.net/", "1234", { bucket: "f", allowWeakSecret: true });
assert.match(await other.link("https://example.com/"), /^https:\/\/img\.example\.net\/f\/full\//);
assert.doesNotMatch(inspect(other, { showHidden: true }) + JSON.stringify(other), /1234/);

await testRewriter();

console.log(`${made.length + secrets.length + links.length + tags.length} cases`);
