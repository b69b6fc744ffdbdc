import { searchRows } from './search.ts';

/** `PART GROUPS SEEDS`: prints rows as JSON. */
const [part = '', groups, seeds] = process.argv.slice(2);
console.log(JSON.stringify(searchRows(part, Number(groups), Number(seeds))));
