/** Text that is safe inside HTML, and HTML made of it. */

export interface Html {
  readonly html: string;
}

export const escaped = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');

type Part = Html | string | number | readonly (Html | string)[];

function textOf(part: Part): string {
  if (typeof part === 'string' || typeof part === 'number') return escaped(String(part));
  return 'html' in part ? part.html : part.map(textOf).join('');
}

/** A template whose every value is text unless it is HTML that came from here. */
export const html = (strings: TemplateStringsArray, ...parts: readonly Part[]): Html => ({
  html: strings.reduce((all, string, i) => all + textOf(parts[i - 1] ?? '') + string),
});

/** JSON for a script element: nothing in it can end the element. */
export const embedded = (value: unknown): Html => ({
  html: JSON.stringify(value)
    .replaceAll('<', '\\u003c')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029'),
});
