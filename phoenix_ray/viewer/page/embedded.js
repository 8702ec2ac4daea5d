/* The data of a page that is one file (html_page.py): all of it lies in the document, and nothing is fetched.

   The file holds this text after viewer.js, in the same module. */

function embeddedData() {
  const text = (id) => document.getElementById(id).textContent;
  const world = JSON.parse(text("world"));
  const numberOf = (split, video) => world.rows.findIndex((row) => row.split === split && row.video_id === video);

  const bytes = (base64) => {
    const letters = atob(base64), content = new Uint8Array(letters.length);
    for (let place = 0; place < letters.length; place++) content[place] = letters.charCodeAt(place);
    return content;
  };

  /* Numbers of the rows that match a search, in order; as video_list.py does. */
  const matches = ({ search, sort }) => {
    const words = search.toLowerCase().split(/\s+/).filter(Boolean);
    const order = sort === "worth" ? world.worth : [...world.rows.keys()];
    return order.filter((number) => {
      const { video_id: id, gloss, translation, signer } = world.rows[number];
      const texts = [id, gloss, translation, signer].filter(Boolean).map((field) => field.toLowerCase());
      return words.every((word) => texts.some((field) => field.includes(word)));
    });
  };

  /* The pictures of the video that is open, a line of base64 for each frame. */
  let pictured = -1, lines = [];

  return {
    datasets: async () => ({ datasets: world.datasets, drawing: world.drawing }),
    list: async (dataset, { first, count, ...query }) => {
      const found = matches(query);
      return { total: found.length, first, rows: found.slice(first, first + count).map((number) => world.rows[number]) };
    },
    find: async (dataset, split, video, query) => {
      const number = numberOf(split, video), place = matches(query).indexOf(number);
      if (number < 0) throw new Error(`This page has no video ${split}/${video}.`);
      return { row: world.rows[number], place: place < 0 ? null : place };
    },
    landmarks: async (dataset, split, video) => bytes(text(`landmarks-${numberOf(split, video)}`)).buffer,
    source: async (dataset, split, video) => ({ frames: world.rows[numberOf(split, video)].frames, error: "" }),
    picture: async (dataset, split, video, frame) => {
      const number = numberOf(split, video);
      if (number !== pictured) [pictured, lines] = [number, text(`frames-${number}`).trim().split("\n")];
      if (!lines[frame] || lines[frame] === "-") throw new Error("unreadable");
      return new Blob([bytes(lines[frame])], { type: "image/jpeg" });
    },
  };
}

start(embeddedData()).then((viewer) => { window.viewer = viewer; }, (error) => {
  byId("stage").replaceChildren(make("p", "empty", error.message));
});
