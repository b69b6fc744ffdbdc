import jsep from 'jsep';
import { ConfigValidationError } from '../../base/errors.ts';

/** What an expression works on: plain data, such as parameters or a parsed JSON document. */
export type Scope = Readonly<Record<string, unknown>>;

/** A formula of a configuration file. It can read its scope and calculate, and nothing else. */
export interface Expression {
  readonly text: string;
  /** The names that it reads from the scope, in the order in which they occur. */
  readonly names: readonly string[];
  /** It answers with yes or no, as far as its form tells. */
  readonly isCondition: boolean;
  /** undefined where it reaches into what is not there. */
  evaluate(scope: Scope): unknown;
}

type Evaluate = (scope: Scope) => unknown;

const binary: Readonly<Record<string, (a: never, b: never) => unknown>> = {
  '+': (a: number, b: number) => a + b,
  '-': (a: number, b: number) => a - b,
  '*': (a: number, b: number) => a * b,
  '/': (a: number, b: number) => a / b,
  '%': (a: number, b: number) => a % b,
  '**': (a: number, b: number) => a ** b,
  '==': (a: unknown, b: unknown) => a === b,
  '===': (a: unknown, b: unknown) => a === b,
  '!=': (a: unknown, b: unknown) => a !== b,
  '!==': (a: unknown, b: unknown) => a !== b,
  '<': (a: number, b: number) => a < b,
  '<=': (a: number, b: number) => a <= b,
  '>': (a: number, b: number) => a > b,
  '>=': (a: number, b: number) => a >= b,
};

const functions: Readonly<Record<string, (...numbers: number[]) => number>> = {
  min: Math.min,
  max: Math.max,
  abs: Math.abs,
  ceil: Math.ceil,
  floor: Math.floor,
  round: Math.round,
  log2: Math.log2,
};

function wrong(text: string, why: string): ConfigValidationError {
  return new ConfigValidationError('expr', text, `${JSON.stringify(text)}: ${why}`);
}

/** Own properties of plain data only: nothing leads to a prototype or a function. */
function member(object: unknown, key: unknown): unknown {
  if (typeof object !== 'object' || object === null) return undefined;
  return Object.hasOwn(object, String(key)) ? (object as Record<string, unknown>)[String(key)] : undefined;
}

const truthy = Boolean;

const orders = (node: jsep.Expression): boolean =>
  node.type === 'BinaryExpression' &&
  ['<', '<=', '>', '>='].includes((node as jsep.BinaryExpression).operator);

const conditional = ['<', '<=', '>', '>=', '==', '===', '!=', '!==', '&&', '||'];

/** Whether it can only be true or false; a bare name is what its field is. */
function asksSomething(node: jsep.Expression): boolean {
  switch (node.type) {
    case 'BinaryExpression':
      return conditional.includes((node as jsep.BinaryExpression).operator);
    case 'UnaryExpression':
      return (node as jsep.UnaryExpression).operator === '!';
    case 'Identifier':
    case 'ConditionalExpression':
    case 'MemberExpression':
      return true;
    default:
      return typeof (node as jsep.Literal).value === 'boolean';
  }
}

class Compiler {
  readonly names = new Set<string>();
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  compile(node: jsep.CoreExpression): Evaluate {
    switch (node.type) {
      case 'Literal':
        return () => node.value;
      case 'Identifier':
        this.names.add(node.name);
        return (scope) => (Object.hasOwn(scope, node.name) ? scope[node.name] : undefined);
      case 'MemberExpression':
        return this.#member(node);
      case 'UnaryExpression':
        return this.#unary(node);
      case 'BinaryExpression':
        return this.#binary(node);
      case 'ConditionalExpression': {
        const [test, yes, no] = [node.test, node.consequent, node.alternate].map((one) => this.#of(one));
        return (scope) =>
          truthy((test as Evaluate)(scope)) ? (yes as Evaluate)(scope) : (no as Evaluate)(scope);
      }
      case 'CallExpression':
        return this.#call(node);
      default:
        throw wrong(this.#text, `${node.type} is not for here: one formula of numbers, texts and names`);
    }
  }

  #of(node: jsep.Expression): Evaluate {
    return this.compile(node as jsep.CoreExpression);
  }

  #member(node: jsep.MemberExpression): Evaluate {
    const object = this.#of(node.object);
    if (node.computed) {
      const key = this.#of(node.property);
      return (scope) => member(object(scope), key(scope));
    }
    const { name } = node.property as jsep.Identifier;
    return (scope) => member(object(scope), name);
  }

  #unary(node: jsep.UnaryExpression): Evaluate {
    const argument = this.#of(node.argument);
    if (node.operator === '!') return (scope) => !truthy(argument(scope));
    if (node.operator === '-') return (scope) => -(argument(scope) as number);
    if (node.operator === '+') return argument;
    throw wrong(this.#text, `no operator ${node.operator} here`);
  }

  #binary(node: jsep.BinaryExpression): Evaluate {
    if (orders(node)) this.#checkOrder(node);
    const [left, right] = [this.#of(node.left), this.#of(node.right)];
    if (node.operator === '&&' || node.operator === '||') {
      const goesOn = node.operator === '&&';
      return (scope) => {
        const first = left(scope);
        return truthy(first) === goesOn ? right(scope) : first;
      };
    }
    const apply = binary[node.operator];
    if (apply === undefined) throw wrong(this.#text, `no operator ${node.operator} here`);
    return (scope) => apply(left(scope) as never, right(scope) as never);
  }

  /** What reads as a chain or compares texts would be true by accident. */
  #checkOrder({ left, right, operator }: jsep.BinaryExpression): void {
    if (orders(left) || orders(right)) {
      throw wrong(this.#text, 'comparisons do not chain; write a <= b && b <= c');
    }
    if ([left, right].some((one) => one.type === 'Literal' && typeof one['value'] === 'string')) {
      throw wrong(this.#text, `${operator} compares numbers; write them without quotes`);
    }
  }

  #call(node: jsep.CallExpression): Evaluate {
    const { name } = { name: '?', ...node.callee } as { readonly name: string };
    const apply = Object.hasOwn(functions, name) ? functions[name] : undefined;
    if (apply === undefined)
      throw wrong(this.#text, `no function ${name} here; there are ${Object.keys(functions).join(', ')}`);
    const given = node.arguments.map((one) => this.#of(one));
    return (scope) => apply(...given.map((one) => one(scope) as number));
  }
}

/** @throws ConfigValidationError where it is no formula */
export function parseExpression(text: string): Expression {
  let tree: jsep.Expression;
  try {
    tree = jsep(text);
  } catch (error) {
    throw wrong(text, (error as Error).message);
  }
  const compiler = new Compiler(text);
  const evaluate = compiler.compile(tree as jsep.CoreExpression);
  return { text, names: [...compiler.names], isCondition: asksSomething(tree), evaluate };
}
