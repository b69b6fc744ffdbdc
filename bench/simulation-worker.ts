import { servings, simulate, temporary } from './studies.ts';

/** `FIRST STEP COUNT TABLE`: studies with these seeds, one after the other. */
const [first, step, count, table = '{}'] = process.argv.slice(2);
using output = temporary();
for (let i = 0; i < Number(count); i++)
  await simulate(
    servings['chat']!,
    Number(first) + i * Number(step),
    JSON.parse(table) as Record<string, never>,
    output.path,
  );
