// Photos with their captions and edits, kept by the browser (IndexedDB): a reload loses none.

const NAME = "mrnn";
const PHOTOS = "photos";

/** Opens the store; null where the browser keeps nothing, as in some private windows. */
export async function openStore() {
  try {
    const opening = indexedDB.open(NAME, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(PHOTOS, { keyPath: "id" });
    return new PhotoStore(await done(opening));
  } catch {
    return null;
  }
}

class PhotoStore {
  #database;

  constructor(database) {
    this.#database = database;
  }

  /** All that are kept, in the order in which they were added. */
  async all() {
    const found = await done(this.#photos("readonly").getAll());
    return found.sort((one, other) => one.order - other.order);
  }

  /** Keeps a photo, or what changed of it. */
  put(photo) {
    return done(this.#photos("readwrite").put(photo));
  }

  remove(id) {
    return done(this.#photos("readwrite").delete(id));
  }

  clear() {
    return done(this.#photos("readwrite").clear());
  }

  #photos(mode) {
    return this.#database.transaction(PHOTOS, mode).objectStore(PHOTOS);
  }
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
