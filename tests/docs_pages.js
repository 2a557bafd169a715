// Opens every page in a frame of each width and posts a line for each fault. PAGES and WIDTHS stand before this text.
const SELF = location.origin;

function hidden(element) {
  return !element.getClientRects().length || getComputedStyle(element).visibility === "hidden";
}

function look(frame) {
  const page = frame.contentDocument, view = frame.contentWindow, faults = [];
  const root = page.documentElement;
  if (root.scrollWidth > root.clientWidth + 1) faults.push(`is ${root.scrollWidth - root.clientWidth} pixels too wide`);
  for (const image of page.images) {
    if (!(image.complete && image.naturalWidth > 0)) faults.push(`${image.getAttribute("src")} is missing`);
  }
  for (const formula of page.querySelectorAll(".formula")) {
    const drawn = formula.querySelector("svg path"), box = drawn && drawn.getBoundingClientRect();
    if (!box || !box.width || !box.height) faults.push(`a formula is not rendered: ${formula.textContent.trim().slice(0, 60)}`);
  }
  for (const block of page.querySelectorAll("pre, .table-wrapper, div.formula")) {
    if (hidden(block) || block.scrollWidth <= block.clientWidth + 1) continue;
    const style = view.getComputedStyle(block);
    const bar = block.offsetHeight - block.clientHeight - parseFloat(style.borderTopWidth) - parseFloat(style.borderBottomWidth);
    if (!["auto", "scroll"].includes(style.overflowX) || bar < 4) faults.push(`no bar to scroll by: ${block.textContent.trim().slice(0, 40)}`);
  }
  const article = page.querySelector("article") || page.body, sizes = [];
  for (const level of [1, 2, 3, 4]) {
    const heading = article.querySelector(`h${level}`);
    if (heading) sizes.push(parseFloat(view.getComputedStyle(heading).fontSize));
  }
  if (sizes.some((size, index) => index && size > 0.9 * sizes[index - 1])) faults.push(`headings look alike: ${sizes}`);
  const lists = [...article.querySelectorAll(".toctree-wrapper")].filter((list) => !hidden(list) && list.textContent.trim());
  if (lists.length) faults.push("a table of contents stands beside the one at the side");
  for (const entry of view.performance.getEntriesByType("resource")) {
    if (!entry.name.startsWith(SELF) && !entry.name.startsWith("data:")) faults.push(`asks for ${entry.name}`);
  }
  return faults;
}

async function open(name, width) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width: ${width}px; height: 900px; border: 0`;
  frame.src = `/${name}`;
  const loaded = new Promise((resolve) => (frame.onload = resolve));
  document.body.append(frame);
  await loaded;
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  const faults = look(frame).map((fault) => `${name} at ${width}: ${fault}`);
  frame.remove();
  return faults;
}

onload = async () => {
  const found = [];
  for (const name of PAGES) found.push(...(await Promise.all(WIDTHS.map((width) => open(name, width)))).flat());
  await new Promise((resolve) => setTimeout(resolve, 3000)); // reports of what was blocked come a little later
  await fetch("/found", { method: "POST", body: JSON.stringify(found) });
};
