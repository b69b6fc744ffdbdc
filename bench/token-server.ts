import { createServer, type Socket } from 'node:net';

/**
 * `EVENTS PER_WRITE`: answers every POST with so many streamed tokens as fast as it can, so many of them a write; its
 * port is told on stdout. It costs as little as a server can: what is measured is who reads.
 */
const [events, perWrite] = process.argv.slice(2).map(Number) as [number, number];

const chunk = (text: string): string => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
const token = `data: ${JSON.stringify({ id: 'cmpl-1', object: 'text_completion', choices: [{ index: 0, text: ' token', finish_reason: null }] })}\n\n`;
const last = `data: ${JSON.stringify({ id: 'cmpl-1', choices: [{ index: 0, text: ' end', finish_reason: 'length' }], usage: { prompt_tokens: 8, completion_tokens: events } })}\n\n`;
const piece = Buffer.from(chunk(token).repeat(perWrite));
const end = Buffer.from(`${chunk(last)}${chunk('data: [DONE]\n\n')}0\r\n\r\n`);
const head = Buffer.from(
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n',
);
const models = '{"data":[{"id":"m"}]}';
const listed = Buffer.from(
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${models.length}\r\n\r\n${models}`,
);

function stream(socket: Socket): void {
  socket.write(head);
  let left = Math.ceil((events - 1) / perWrite);
  const go = (): void => {
    while (left > 0) {
      left--;
      if (!socket.write(piece)) {
        socket.once('drain', go);
        return;
      }
      // A turn of the loop in between, or the kernel makes one of several.
      if (left % 4 === 0) {
        setImmediate(go);
        return;
      }
    }
    socket.write(end);
  };
  go();
}

const server = createServer({ noDelay: true }, (socket) => {
  let seen = '';
  socket.on('error', () => undefined);
  socket.on('data', (data) => {
    seen += data.toString('latin1');
    for (;;) {
      const headEnd = seen.indexOf('\r\n\r\n');
      if (headEnd === -1) return;
      const length = Number(/content-length: (\d+)/i.exec(seen.slice(0, headEnd))?.[1] ?? 0);
      if (seen.length < headEnd + 4 + length) return;
      const isPost = seen.startsWith('POST');
      seen = seen.slice(headEnd + 4 + length);
      if (isPost) stream(socket);
      else socket.write(listed);
    }
  });
});
server.listen(0, '127.0.0.1', () => console.log((server.address() as { port: number }).port));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
