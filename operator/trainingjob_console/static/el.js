// Creates DOM elements. Strings become text nodes: neither this module nor any other parses HTML.
//
//   el("a", { class: "name", href: "/jobs" }, "Jobs")
//
// A property that begins with `on` is an event listener; `true` is an attribute without a value; `false`, null
// and undefined are omitted. Children are nodes, strings, numbers, or arrays of these; `false`, null and
// undefined are omitted, too.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...nodes(children));
  return node;
}

// Replaces the children of a node. If its only child is and stays a text node, only the text is changed.
export function fill(node, ...children) {
  const wanted = nodes(children);
  const [only] = wanted;
  if (wanted.length === 1 && typeof only === "string" && node.childNodes.length === 1
      && node.firstChild.nodeType === Node.TEXT_NODE) {
    if (node.firstChild.data !== only) node.firstChild.data = only;
    return node;
  }
  node.replaceChildren(...wanted);
  return node;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}
