// The data source of a saved page: data packed into the file itself.
"use strict";
const source = (() => {
  const chunk = Number(document.body.dataset.chunk);
  const unpacked = new Map();
  function unpack(name) {
    if (!unpacked.has(name)) unpacked.set(name, read(document.querySelector(`script[data-block="${name}"]`)));
    return unpacked.get(name);
  }
  async function read(block) {
    const bytes = Uint8Array.from(atob(block.textContent), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return await new Response(stream).json();
  }
  return {
    rows: () => unpack("rows"),
    inside: async (number) => (await unpack(`inside-${Math.floor(number / chunk)}`))[number],
    async find(words) {
      const found = new Set();
      for (const [number, text] of Object.entries(await unpack("texts"))) {
        if (words.every((word) => text.includes(word))) found.add(Number(number));
      }
      return found;
    },
  };
})();
