// Draws every chart of the page as wide as its place. Vega reads its expressions itself (ast), so that
// the page's policy need not let texts become code; and it brings no styles, which it would refuse.
const { tables, specs } = JSON.parse(document.getElementById("charts").textContent);
const NARROW = 560, AXES = 75;  // pixels: a phone; what lies beside the plot at most
const drawn = new WeakMap();

// Each table stands in the page once, its columns' names first; Vega gets rows of its own to change.
function whole(part) {
  if (Array.isArray(part)) return part.map(whole);
  if (part === null || typeof part !== "object") return part;
  return Object.fromEntries(Object.entries(part).map(([name, each]) =>
    [name, name === "values" && typeof each === "number" ? rows(tables[each]) : whole(each)]));
}

function rows([names, ...table]) {
  return table.map((row) => Object.fromEntries(row.map((value, place) => [names[place], value])));
}

async function draw(place) {
  const spec = whole(specs[Number(place.dataset.chart)]);
  const room = place.clientWidth || spec.width + AXES;
  const before = drawn.get(place);
  if (before && Math.abs(before.room - room) < 4) return;
  drawn.set(place, { room });
  try {
    const { finalize } = await vegaEmbed(place, {
      ...spec,
      width: Math.min(room, spec.width + AXES),
      autosize: { type: "fit-x", contains: "padding" },
      params: [{ name: "narrow", value: room < NARROW }],
    }, {
      mode: "vega-lite",
      renderer: "svg",
      ast: true,
      actions: false,
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
    });
    before?.finalize?.();
    drawn.set(place, { room, finalize });
    place.dataset.drawn = "yes";
  } catch (error) {
    place.textContent = `This chart could not be drawn: ${error.message}`;
  }
}

const turned = new ResizeObserver((places) => places.forEach((each) => draw(each.target)));
for (const place of document.querySelectorAll("[data-chart]")) {
  draw(place).then(() => turned.observe(place));
}
