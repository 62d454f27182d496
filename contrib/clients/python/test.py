"""python3 test.py ../vectors.json: compares the links with the vectors."""

import json
import os
import sys
import time
import unittest

os.environ["TZ"] = "Pacific/Auckland"  # of the site: links do not depend on it
time.tzset()

import imgkeep  # noqa: E402

with open(sys.argv.pop(1), encoding="utf-8") as file:
    FILE = json.load(file)
MADE = [v for v in FILE["vectors"] if not v["bucketless"]]  # no client makes the older scheme
GOOD = "a long enough secret"


class Test(unittest.TestCase):
    def test_vectors(self):
        for v in MADE:
            with self.subTest(v["name"]):
                got = imgkeep.Signer("", v["secret"], allow_weak_secret=True).link(v["url"], v["size"], v["bucket"], v["proxy"], v["time"])
                self.assertEqual(got, v["link"])

    def test_secrets(self):
        first = MADE[0]
        for c in FILE["secrets"]:
            for text in c["text"], c["text"].encode():
                with self.subTest(c["name"]):
                    if c["link"]:
                        self.assertEqual(imgkeep.Signer("", text).link(first["url"], at=first["time"]), c["link"])
                    else:
                        with self.assertRaises(ValueError):
                            imgkeep.Signer("", text)
        for text in b"a long enough secret\xff", "a long enough secret\udcff", None:
            with self.assertRaises(ValueError):
                imgkeep.Signer("", text)

    def test_links(self):
        signer = imgkeep.Signer("", GOOD)
        for c in FILE["links"]:
            with self.subTest(c["name"]):
                if c["refused"]:
                    with self.assertRaises(ValueError):
                        signer.link(c["url"], c["size"], c["bucket"], c["proxy"])
                else:
                    signer.link(c["url"], c["size"], c["bucket"], c["proxy"])

    def test_tags(self):
        for c in FILE["tags"]:
            with self.subTest(c["name"]):
                signer = imgkeep.Signer("", c["secret"])
                if c["tagged"]:
                    self.assertEqual(signer.tagged(c["url"], c["by"]), c["tagged"])
                else:
                    with self.assertRaises(ValueError):
                        signer.tagged(c["url"], c["by"])

    def test_base_and_bucket(self):
        for base in "img.example.net", "https://img.example.net/?a=1", 'https://img.example.net/"', "https://img.example.net\n":
            with self.assertRaises(ValueError):
                imgkeep.Signer(base, GOOD)
        signer = imgkeep.Signer("https://img.example.net/", b"1234", bucket="f", allow_weak_secret=True)
        self.assertTrue(signer.link("https://example.com/").startswith("https://img.example.net/f/full/"))
        self.assertNotIn("1234", repr(signer))


result = unittest.main(exit=False, verbosity=0).result
if not result.wasSuccessful():
    sys.exit(1)
print(f"{len(MADE) + len(FILE['secrets']) + len(FILE['links']) + len(FILE['tags'])} cases")
