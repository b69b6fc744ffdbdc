import { text } from 'node:stream/consumers';
import { readFileSync } from 'node:fs';
import { startCluster, type ClusterOptions } from '../src/emulator/cluster.ts';

/** Hosts in a process of their own: `COUNT OPTIONS`, told as a line of JSON on stdout. They end with its stdin. */
const [count = '1', options = '{}'] = process.argv.slice(2);
const cluster = await startCluster(Number(count), JSON.parse(options) as ClusterOptions);
console.log(
  JSON.stringify({
    addresses: cluster.hosts.map(({ address }) => address),
    knownHosts: readFileSync(cluster.knownHosts, 'utf8'),
  }),
);
await text(process.stdin);
await cluster[Symbol.asyncDispose]();
