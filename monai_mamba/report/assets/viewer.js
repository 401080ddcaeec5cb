"use strict";
// The viewer of a report: NiiVue shows one of the embedded scans with its labels. Data and names come from data blocks of
// the page, nothing from a network. `data-viewer` of the page's root says how far it is: "ready" once both are drawn.
(async () => {
  const get = (id) => document.getElementById(id);
  const {scans, tables} = JSON.parse(get("viewer-data").textContent);
  const {Niivue, NVImage, SHOW_RENDER, SLICE_TYPE, MULTIPLANAR_TYPE} = niivue;
  const state = (value) => { document.documentElement.dataset.viewer = value; };
  const viewer = new Niivue({
    backColor: [0, 0, 0, 1],
    clipPlaneColor: [0, 0, 0, 0],
    crosshairColor: [0.35, 0.75, 1, 0.8],
    crosshairGap: 6,
    crosshairWidth: 1,
    crosshairWidthUnit: "mm",
    fontColor: [1, 1, 1, 1],
    fontMinPx: 15,
    dragAndDropEnabled: false,
    loadingText: "",
    logLevel: "error",
    multiplanarLayout: MULTIPLANAR_TYPE.GRID,
    multiplanarShowRender: SHOW_RENDER.ALWAYS,
    show3Dcrosshair: true,
    sagittalNoseLeft: false,
  });
  let shown = -1;
  let last = Promise.resolve();  // one scan is loaded after the other, however fast they are chosen

  const volume = (kind, index, colormap, opacity) => NVImage.loadFromBase64({
    base64: get(`${kind}-${index}`).textContent.trim(), name: `${kind}.nii.gz`, colormap, opacity,
  });

  // The point nearest to the mean of all: where most can be seen.
  function central(points) {
    const mean = [0, 1, 2].map((axis) => points.reduce((sum, mm) => sum + mm[axis], 0) / points.length);
    const distance = (mm) => Math.hypot(...mm.map((value, axis) => value - mean[axis]));
    return points.reduce((best, mm) => (distance(mm) < distance(best) ? mm : best));
  }

  const drawn = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));

  const show = (index) => { last = last.then(() => load(index)); return last; };

  async function load(index) {
    state("loading");
    const image = await volume("image", index, "gray", 1);
    const labels = await volume("labels", index, "gray", 1);
    image.cal_min = 0;
    image.cal_max = 255;
    labels.setColormapLabel(tables[scans[index].table]);
    while (viewer.volumes.length) viewer.removeVolume(viewer.volumes[0]);
    viewer.addVolume(image);
    viewer.addVolume(labels);
    shown = index;
    get("viewer-scan").value = String(index);
    apply();
    const points = Object.values(scans[index].points);
    if (points.length) go(central(points));
    await drawn();
    state("ready");
  }

  function go(mm) {
    viewer.scene.crosshairPos = viewer.mm2frac(mm);
    viewer.createOnLocationChange();
    viewer.drawScene();
  }

  function apply() {
    const views = {
      all: SLICE_TYPE.MULTIPLANAR, render: SLICE_TYPE.RENDER, axial: SLICE_TYPE.AXIAL,
      coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL,
    };
    viewer.setSliceType(views[get("viewer-view").value]);
    viewer.setOpacity(1, Number(get("viewer-labels").value) / 100);
    viewer.setOpacity(0, Number(get("viewer-image").value) / 100);
    viewer.setClipPlane(get("viewer-cut").checked ? [0, 180, 20] : [2, 0, 0]);
  }

  viewer.onLocationChange = ({mm, values}) => {
    if (shown < 0) return;
    const position = Array.from(mm).slice(0, 3).map((value) => value.toFixed(1)).join(", ");
    const channel = Math.round(values[1] ? values[1].value : 0);
    const name = channel > 0 ? tables[scans[shown].table].labels[channel] : "no label";
    get("viewer-where").textContent = `${name} at ${position} mm (x to the right, y anterior, z superior)`;
  };

  try {
    await viewer.attachToCanvas(get("viewer-canvas"));
    await show(0);
  } catch (error) {
    get("viewer-where").textContent = `The viewer cannot start (${error.message || error}). It needs WebGL 2.`;
    state("failed");
    return;
  }
  get("viewer-scan").addEventListener("change", (event) => show(Number(event.target.value)));
  for (const id of ["viewer-view", "viewer-labels", "viewer-image", "viewer-cut"]) {
    get(id).addEventListener("input", apply);
  }
  for (const cell of document.querySelectorAll("[data-scan][data-id]")) {
    const index = Number(cell.dataset.scan);
    const point = scans[index].points[cell.dataset.id];
    if (!point) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Show in the viewer";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", async () => {
      if (index !== shown) await show(index);
      go(point);
      get("viewer").scrollIntoView({block: "nearest"});
    });
  }
})();
