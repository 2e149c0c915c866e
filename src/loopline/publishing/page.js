// Draws every chart of the page. Vega reads its expressions itself (ast), so that the page's policy
// need not let texts become code; and it brings no styles, which the policy would refuse.
const specs = JSON.parse(document.getElementById("charts").textContent);
for (const place of document.querySelectorAll("[data-chart]")) {
  vegaEmbed(place, specs[Number(place.dataset.chart)], {
    mode: "vega-lite",
    renderer: "svg",
    ast: true,
    actions: false,
    defaultStyle: false,
    tooltip: { disableDefaultStyle: true },
  }).then(
    () => { place.dataset.drawn = "yes"; },
    (error) => { place.textContent = `This chart could not be drawn: ${error.message}`; },
  );
}
