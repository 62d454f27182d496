"""python3 test.py ../vectors.json: compares the links with the vectors."""

import json
import os
import sys
import time
import unittest

os.environ["TZ"] = "Pacific/Auckland"  # of the site: links do not depend on it
time.tzset()

import imgkeep  # noqa: E402

VECTORS = json.load(open(sys.argv.pop(1), encoding="utf-8"))["vectors"]
MADE = [v for v in VECTORS if not v["bucketless"]]  # no client makes the older scheme


class Test(unittest.TestCase):
    def test_vectors(self):
        for v in MADE:
            with self.subTest(v["name"]):
                got = imgkeep.Signer("", v["secret"]).link(v["url"], v["size"], v["bucket"], v["proxy"], v["time"])
                self.assertEqual(got, v["link"])

    def test_refused(self):
        with self.assertRaises(ValueError):
            imgkeep.Signer("", "")
        with self.assertRaises(ValueError):
            imgkeep.Signer("", "s").link("https://example.com/", "150x", proxy=True)

    def test_base_and_bucket(self):
        signer = imgkeep.Signer("https://img.example.net/", b"1234", bucket="f")
        self.assertTrue(signer.link("https://example.com/").startswith("https://img.example.net/f/full/"))
        self.assertNotIn("1234", repr(signer))


result = unittest.main(exit=False, verbosity=0).result
if not result.wasSuccessful():
    sys.exit(1)
print(f"{len(MADE)} vectors")
