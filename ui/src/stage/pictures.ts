/** Images as the stage keeps them. */

import type { Picture } from "../protocol";
import { unpack } from "../arrays";
import type { Grid } from "./source";

export interface PictureData extends Grid {
  key: string;
  axes: string;
  size: number[];
  box: number[];
  /** Of the source image. */
  source: number[];
  /** Of one axis in its own units, else from 0 to 255. */
  image: Uint8Array | Float32Array;
  channels: number;
  fine: { image: Uint8Array; rows: number; columns: number } | null;
}

export function pictureData(picture: Picture, buffers: ArrayBuffer[]): PictureData {
  const { key, axes, size, image, fine, source_box: box, source_size: source } = picture;
  return {
    key,
    axes,
    size,
    box,
    source,
    image: image.dtype === "float32" ? unpack("float32", image, buffers) : unpack("uint8", image, buffers),
    channels: image.shape.length > size.length ? image.shape[size.length]! : 1,
    fine: fine && { image: unpack("uint8", fine, buffers), rows: fine.shape[0]!, columns: fine.shape[1]! },
  };
}
