/**
 * A message with its buffers as one binary frame, the way it goes over the WebSocket of `kdb ui`:
 *
 *     4 bytes     length of the header, little endian
 *     header      {"content": .., "lengths": [bytes of each buffer]} in UTF-8, zeros up to a multiple of 8
 *     buffers     each followed by zeros up to a multiple of 8, so that arrays of any type are aligned
 */

export interface Message {
  content: object;
  buffers: ArrayBuffer[];
}

const ALIGNED = 8;
const LENGTH = 4;

const padded = (bytes: number): number => Math.ceil(bytes / ALIGNED) * ALIGNED;

export function encodeFrame({ content, buffers }: Message): ArrayBuffer {
  const lengths = buffers.map((buffer) => buffer.byteLength);
  const header = new TextEncoder().encode(JSON.stringify({ content, lengths }));
  const begin = padded(LENGTH + header.length);
  const frame = new ArrayBuffer(lengths.reduce((sum, length) => sum + padded(length), begin));
  new DataView(frame).setUint32(0, header.length, true);
  new Uint8Array(frame, LENGTH).set(header);
  let at = begin;
  for (const buffer of buffers) {
    new Uint8Array(frame, at).set(new Uint8Array(buffer));
    at += padded(buffer.byteLength);
  }
  return frame;
}

/** Throws a RangeError or a SyntaxError where the frame is none. */
export function decodeFrame(frame: ArrayBuffer): Message {
  const length = new DataView(frame).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(frame, LENGTH, length))) as {
    content: object;
    lengths: number[];
  };
  let at = padded(LENGTH + length);
  const buffers = header.lengths.map((bytes) => {
    if (at + bytes > frame.byteLength) throw new RangeError("a frame ends before its buffers do");
    const buffer = frame.slice(at, at + bytes);
    at += padded(bytes);
    return buffer;
  });
  return { content: header.content, buffers };
}
