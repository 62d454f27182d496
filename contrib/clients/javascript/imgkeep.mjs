/**
 * Signs links to images that imgkeep serves. Node 18 or later, Deno, Bun, workers
 * and browsers; no dependencies. It uses WebCrypto, hence the promises.
 *
 *     const imgkeep = new Signer("https://img.example.net", secret);
 *     await imgkeep.link("https://example.com/cat.jpg", { size: "250x250" });
 *
 * A secret that is sent to browsers is none: there it is for pages that only an
 * operator sees. Sign on the server.
 */
export class Signer {
  #base;
  #secret;
  #bucket;
  #keys = new Map(); // week -> promise of its key: one week, two around its end

  /**
   * @param {string} base what stands before a link, as "https://img.example.net", or ""
   * @param {string} secret the one that the server has too
   * @param {{bucket?: string}} [options] bucket of links that name no other: "i"
   */
  constructor(base, secret, { bucket = "i" } = {}) {
    if (typeof secret !== "string" || secret === "") {
      throw new TypeError("imgkeep: the secret is empty");
    }
    this.#base = base.replace(/\/+$/, "");
    this.#secret = secret;
    this.#bucket = bucket;
  }

  /**
   * The link of an image.
   *
   * @param {string} url of the image, not escaped for HTML
   * @param {{size?: string, bucket?: string, proxy?: boolean, at?: number}} [options]
   *   size: full, info, or height x width as in 250x250, 150x, x200; proxy: serve
   *   the image and do not store it, with size full; at: unix time of signing, in
   *   seconds, now if absent
   * @returns {Promise<string>}
   */
  async link(url, { size = "full", bucket = this.#bucket, proxy = false, at = Date.now() / 1000 } = {}) {
    if (proxy && size !== "full") {
      throw new TypeError("imgkeep: what is not stored has the size full only");
    }
    const bytes = new TextEncoder();
    const ext = base64url(bytes.encode(url)) + (proxy ? "/proxy" : "");
    const crypto = await webcrypto();
    const mac = await crypto.subtle.sign("HMAC", await this.#key(crypto, isoWeek(at)), bytes.encode(`${bucket}/${ext}`));
    return `${this.#base}/${bucket}/${size}/${base64url(new Uint8Array(mac, 0, 12))}/${ext}`;
  }

  #key(crypto, week) {
    let key = this.#keys.get(week);
    if (!key) {
      if (this.#keys.size > 1) {
        this.#keys.clear();
      }
      const raw = new TextEncoder().encode(this.#secret + week);
      key = crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
      this.#keys.set(week, key);
    }
    return key;
  }
}

/** The ISO 8601 year and week of a unix time, in UTC, as "202653". */
function isoWeek(at) {
  const day = 86_400_000;
  const t = new Date(at * 1000);
  // The Thursday of a week decides which year it belongs to.
  const thursday = Date.UTC(t.getUTCFullYear(), t.getUTCMonth(), t.getUTCDate() - ((t.getUTCDay() + 6) % 7) + 3);
  const year = new Date(thursday).getUTCFullYear();
  const week = 1 + Math.floor((thursday - Date.UTC(year, 0, 1)) / day / 7);
  return String(year).padStart(4, "0") + String(week).padStart(2, "0");
}

function base64url(bytes) {
  let binary = "";
  for (const b of bytes) {
    binary += String.fromCharCode(b);
  }
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Node 18 has WebCrypto, but not as a global; a browser has it on https pages. */
async function webcrypto() {
  return globalThis.crypto?.subtle ? globalThis.crypto : (await import("node:crypto")).webcrypto;
}
