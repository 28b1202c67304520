// Shows the values below the pointer, or below the arrow keys. The charts are complete without it.
for (const figure of document.querySelectorAll("figure.chart")) {
  const svg = figure.querySelector("svg");
  const stops = JSON.parse(figure.dataset.stops);
  const make = (name, type) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    element.setAttribute("class", type);
    return element;
  };
  let shown = -1;
  let marks = [];
  let tip = null;
  const hide = () => {
    for (const mark of marks) mark.remove();
    if (tip) tip.remove();
    marks = [];
    tip = null;
    shown = -1;
  };
  const show = (index) => {
    if (index === shown || !stops[index]) return;
    hide();
    shown = index;
    const [x, name, values] = stops[index];
    const box = svg.viewBox.baseVal;
    const rule = make("path", "rule");
    rule.setAttribute("d", `M${x} 10V${box.height - 28}`);
    svg.append(rule);
    marks.push(rule);
    tip = document.createElement("div");
    tip.className = "tip";
    const head = document.createElement("div");
    head.className = "soft";
    head.textContent = name;
    tip.append(head);
    for (const [line, colour, y, words] of values) {
      const dot = make("circle", `dot c${colour}`);
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      dot.setAttribute("r", 4.5);
      svg.append(dot);
      marks.push(dot);
      const row = document.createElement("div");
      const left = document.createElement("span");
      const key = document.createElement("span");
      key.className = `key c${colour}`;
      left.append(key, line);
      const right = document.createElement("span");
      right.textContent = words;
      row.append(left, right);
      tip.append(row);
    }
    figure.append(tip);
    // Beside the rule, on the side that has room.
    const at = (x / box.width) * svg.clientWidth;
    const left = at + 14 + tip.offsetWidth > svg.clientWidth ? at - 14 - tip.offsetWidth : at + 14;
    tip.style.left = `${Math.max(0, left)}px`;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    let near = 0;
    stops.forEach((stop, index) => {
      if (Math.abs(stop[0] - x) < Math.abs(stops[near][0] - x)) near = index;
    });
    show(near);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !stops.length) return;
    event.preventDefault();
    show(Math.min(Math.max(shown + step, 0), stops.length - 1));
  });
}
