// A keyed list: updates rows in place, so that a row keeps its node, and thereby focus and selection, while its key
// is in the list. Nodes are created, moved and removed only where the list differs.
//
//   const list = keyedList(tbody, (row) => row.uid, makeRow);   // makeRow(item) -> { node, update(item) }
//   list.show(items);
//   list.update(item);      // updates one row in place
//
// It has one node per item; callers pass pages of at most 200 items.

export function keyedList(parent, keyOf, make) {
  const rows = new Map();

  function show(items) {
    const wanted = new Set(items.map(keyOf));
    for (const [key, row] of rows) {
      if (!wanted.has(key)) {
        row.node.remove();
        rows.delete(key);
      }
    }
    let next = parent.firstChild;
    for (const item of items) {
      const row = update(item) ?? added(item);
      if (row.node === next) next = next.nextSibling;
      else parent.insertBefore(row.node, next);
    }
  }

  function added(item) {
    const row = make(item);
    row.update(item);
    rows.set(keyOf(item), row);
    return row;
  }

  function update(item) {
    const row = rows.get(keyOf(item));
    row?.update(item);
    return row;
  }

  return { show, update, get: (key) => rows.get(key), has: (key) => rows.has(key), size: () => rows.size };
}
