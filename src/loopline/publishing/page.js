// Draws every chart of the page as wide as its place. Vega reads its expressions itself (ast), so that
// the page's policy need not let texts become code; and it brings no styles, which it would refuse.
const specs = JSON.parse(document.getElementById("charts").textContent);
const NARROW = 560, AXES = 75;  // pixels: a phone; what lies beside the plot at most
const drawn = new WeakMap();

async function draw(place) {
  const spec = specs[Number(place.dataset.chart)];
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
