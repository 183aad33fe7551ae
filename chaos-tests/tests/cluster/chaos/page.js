const row = 9, low = 120, c = document.getElementById("c"), n = document.getElementById("n");
c.width = columns; c.height = (clients + 1) * row + low;
const g = c.getContext("2d"), x = (ms) => (ms / length) * columns;
g.fillStyle = "#ddd";
for (const [, from, to] of faults) g.fillRect(x(from), 0, Math.max(1, x(to) - x(from)), c.height);
calls.slice(0, clients).forEach((cells, client) => cells.forEach((cell, at) => {
  if (!cell) return;
  g.fillStyle = cell === 11 ? "#c00" : cell === 10 ? "#f90" : `hsl(140 60% ${70 - cell * 6}%)`;
  g.fillRect(at, client * row, 1, row - 2);
}));
g.fillStyle = "#036";
calls[clients].forEach((ms, at) => {
  const high = (Math.min(ms, 5000) / 5000) * low;
  g.fillRect(at, c.height - high, 1, high);
});
c.onmousemove = (e) => {
  const ms = (e.offsetX / columns) * length;
  const here = faults.filter(([, from, to]) => from <= ms && ms <= to).map(([name]) => name);
  n.textContent = `${(ms / 1000).toFixed(1)} s ${here.join(", ")}`;
};
