// The files of a package: fetched with progress, checked by their digests.

/** A file of the package is missing, or isn't the one that was compiled. */
export class LoadError extends Error {
  name = "LoadError";
}

/** Fetches paths below a base; *digests* are `{bytes, sha256}` by path. */
export class Files {
  #base;
  #digests;
  #options;
  #done = 0;
  #total = 0;

  constructor(digests, base, options) {
    this.#digests = digests;
    this.#base = folder(options.base ?? base);
    this.#options = options;
  }

  has(path) {
    return Object.hasOwn(this.#digests, path);
  }

  /** Return the bytes of *path*, fetched with *priority*; throw LoadError. */
  async read(path, { priority } = {}) {
    const { bytes } = this.#digests[path];
    this.#total += bytes;
    const url = new URL(path, this.#base);
    if (url.protocol === "file:" && globalThis.process?.versions?.node) {
      const { readFile } = process.getBuiltinModule("node:fs/promises");
      return this.#checked(path, new Uint8Array(await readFile(url)));
    }
    const { cache: name } = this.#options;
    const cache = name === undefined ? undefined : await globalThis.caches?.open(name);
    return (
      (await this.#cached(cache, path, url)) ??
      this.#fetched(cache, path, url, priority)
    );
  }

  async text(path) {
    return new TextDecoder().decode(await this.read(path));
  }

  async #cached(cache, path, url) {
    const response = await cache?.match(url);
    if (!response) {
      return undefined;
    }
    const data = new Uint8Array(await response.arrayBuffer());
    if (!(await this.#matches(path, data))) {
      return undefined; // of an older compilation
    }
    this.#advance(data.length);
    return data;
  }

  async #fetched(cache, path, url, priority) {
    const response = await this.#response(url, priority);
    const data = this.#checked(path, await this.#body(response, path));
    await cache?.put(url, new Response(await data));
    return data;
  }

  async #response(url, priority) {
    const { fetch = globalThis.fetch, headers, signal } = this.#options;
    let response;
    try {
      response = await fetch(url, { headers, signal, priority });
    } catch (error) {
      signal?.throwIfAborted();
      throw new LoadError(`${url} can't be fetched: ${error.message}`);
    }
    if (!response.ok) {
      throw new LoadError(`${url} can't be fetched: status ${response.status}`);
    }
    return response;
  }

  /** Return the bytes of *response*, telling of their arrival. */
  async #body(response, path) {
    const data = new Uint8Array(this.#digests[path].bytes);
    const reader = response.body.getReader();
    let length = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return data.subarray(0, length);
      }
      if (length + value.length > data.length) {
        await reader.cancel();
        throw foreign(path);
      }
      data.set(value, length);
      length += value.length;
      this.#advance(value.length);
    }
  }

  #advance(bytes) {
    this.#done += bytes;
    const progress = { done: this.#done, total: this.#total };
    this.#options.onProgress?.({ phase: "download", ...progress });
  }

  async #checked(path, data) {
    if (!(await this.#matches(path, data))) {
      throw foreign(path);
    }
    return data;
  }

  async #matches(path, data) {
    const { bytes, sha256 } = this.#digests[path];
    const found = data.length === bytes ? await digest(data) : "";
    return found === undefined || found === sha256;
  }
}

function folder(base) {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  const text = String(base);
  return new URL(text.endsWith("/") ? text : `${text}/`, page);
}

function foreign(path) {
  return new LoadError(`${path} isn't the file that belongs to this package`);
}

/** Return the SHA-256 in hex; undefined where the browser keeps it for https. */
async function digest(data) {
  if (globalThis.crypto?.subtle === undefined) {
    return undefined;
  }
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
