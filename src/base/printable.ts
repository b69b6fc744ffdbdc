import { stripVTControlCharacters } from 'node:util';

/* eslint-disable-next-line no-control-regex -- it is about those */
const control = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** What others say, fit for a terminal and for a file: no colours, no cursor movements, no NUL. */
export const printable = (text: string): string => stripVTControlCharacters(text).replace(control, '');
