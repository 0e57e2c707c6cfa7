// The cheapest cut of a graph in two (maximum flow, Dinic's); knows no pictures.

/**
 * Divide nodes in two: 1 for those that stay with the source.
 * `toSource` and `toSink` are what it costs to part a node from each; `pairs` are neighbours as
 * [a, b, a, b, …], `costs` what it costs to part them.
 */
export function minimumCut(toSource, toSink, pairs, costs) {
  const count = toSource.length;
  const graph = new Graph(count + 2, 2 * (2 * count + costs.length));
  const [source, sink] = [count, count + 1];
  for (let node = 0; node < count; node += 1) {
    // What both would cost is paid anyhow.
    const both = Math.min(toSource[node], toSink[node]);
    if (toSource[node] > both) graph.join(source, node, toSource[node] - both, 0);
    if (toSink[node] > both) graph.join(node, sink, toSink[node] - both, 0);
  }
  costs.forEach((cost, index) => graph.join(pairs[index * 2], pairs[index * 2 + 1], cost, cost));
  while (graph.level(source, sink)) graph.push(source, sink);
  return Uint8Array.from({ length: count }, (_, node) => (graph.levels[node] >= 0 ? 1 : 0));
}

const LEAST = 1e-6;

class Graph {
  #first;
  #next;
  #to;
  #room;
  #edges = 0;

  constructor(nodes, edges) {
    this.#first = new Int32Array(nodes).fill(-1);
    this.#next = new Int32Array(edges);
    this.#to = new Int32Array(edges);
    this.#room = new Float64Array(edges);
    this.levels = new Int32Array(nodes);
  }

  join(from, to, there, back) {
    for (const [a, b, room] of [[from, to, there], [to, from, back]]) {
      this.#to[this.#edges] = b;
      this.#room[this.#edges] = room;
      this.#next[this.#edges] = this.#first[a];
      this.#first[a] = this.#edges;
      this.#edges += 1;
    }
  }

  /** How far each node is from the source where there is room; whether the sink is reached. */
  level(source, sink) {
    this.levels.fill(-1);
    this.levels[source] = 0;
    const queue = [source];
    for (let at = 0; at < queue.length; at += 1) {
      const node = queue[at];
      for (let edge = this.#first[node]; edge !== -1; edge = this.#next[edge]) {
        const to = this.#to[edge];
        if (this.#room[edge] <= LEAST || this.levels[to] !== -1) continue;
        this.levels[to] = this.levels[node] + 1;
        queue.push(to);
      }
    }
    return this.levels[sink] !== -1;
  }

  /** Push all that goes along the levels. */
  push(source, sink) {
    const current = Int32Array.from(this.#first);
    const path = [];
    let node = source;
    for (;;) {
      if (node === sink) {
        const least = path.reduce((room, edge) => Math.min(room, this.#room[edge]), Infinity);
        for (const edge of path) {
          this.#room[edge] -= least;
          this.#room[edge ^ 1] += least;
        }
        // Back to before the first edge that is full now.
        const full = path.findIndex((edge) => this.#room[edge] <= LEAST);
        node = this.#to[path[full] ^ 1];
        path.length = full;
        continue;
      }
      let edge = current[node];
      while (edge !== -1 && !this.#leads(node, edge)) edge = this.#next[edge];
      current[node] = edge;
      if (edge !== -1) {
        path.push(edge);
        node = this.#to[edge];
      } else if (path.length === 0) {
        return;
      } else {
        // A dead end.
        this.levels[node] = -1;
        node = this.#to[path.pop() ^ 1];
      }
    }
  }

  #leads(node, edge) {
    return this.#room[edge] > LEAST && this.levels[this.#to[edge]] === this.levels[node] + 1;
  }
}
