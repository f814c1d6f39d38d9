/** How many columns show n tiles of 16:9 largest in a box. */
export function bestColumns(n: number, width: number, height: number, gap = 10): number {
  let best = 1;
  let largest = 0;
  for (let columns = 1; columns <= n; columns++) {
    const rows = Math.ceil(n / columns);
    const tile = Math.min((width - gap * (columns - 1)) / columns, (((height - gap * (rows - 1)) / rows) * 16) / 9);
    if (tile > largest + 1) {
      largest = tile;
      best = columns;
    }
  }
  return best;
}
