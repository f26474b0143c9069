(function () {
  "use strict";
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  function theme() {
    var style = getComputedStyle(document.documentElement);
    var line = style.getPropertyValue("--line").trim();
    return {
      "font.color": style.getPropertyValue("--ink").trim(),
      "xaxis.gridcolor": line, "yaxis.gridcolor": line,
      "xaxis.linecolor": line, "yaxis.linecolor": line,
      "modebar.bgcolor": "rgba(0, 0, 0, 0)",
      "modebar.color": style.getPropertyValue("--soft").trim(),
      "modebar.activecolor": style.getPropertyValue("--link").trim(),
      "hoverlabel.bgcolor": style.getPropertyValue("--ground").trim(),
      "hoverlabel.font.color": style.getPropertyValue("--ink").trim()
    };
  }
  var settings = { responsive: true, displaylogo: false, displayModeBar: "hover" };
  var drawn = [];
  document.querySelectorAll("script[data-for]").forEach(function (data) {
    var place = document.getElementById(data.dataset.for);
    var figure = JSON.parse(data.textContent);
    Plotly.newPlot(place, figure.data, figure.layout, settings).then(function () {
      Plotly.relayout(place, theme());
    });
    drawn.push(place);
  });
  // Plotly follows the window only; a chart's room also changes when the page is laid out anew.
  if (window.ResizeObserver) {
    var rooms = new ResizeObserver(function (entries) {
      entries.forEach(function (entry) {
        if (entry.contentRect.width > 0 && entry.target.data) { Plotly.Plots.resize(entry.target); }
      });
    });
    drawn.forEach(function (place) { rooms.observe(place); });
  }
  dark.addEventListener("change", function () {
    drawn.forEach(function (place) { Plotly.relayout(place, theme()); });
  });
})();
