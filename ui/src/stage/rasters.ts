/** Small canvases of one pixel a cell, kept until what is on them changes. */

interface Raster {
  canvas: HTMLCanvasElement;
  pen: CanvasRenderingContext2D;
  image: ImageData;
  pixels: Uint32Array;
  key: string;
}

export class Rasters {
  private readonly kept = new Map<string, Raster>();

  /** The canvas called `name`, filled anew where it was filled for another `key`. */
  canvas(
    name: string,
    key: string,
    rows: number,
    columns: number,
    fill: (pixels: Uint32Array) => void,
  ): HTMLCanvasElement {
    let raster = this.kept.get(name);
    if (raster === undefined || raster.canvas.width !== columns || raster.canvas.height !== rows) {
      raster = blank(rows, columns);
      this.kept.set(name, raster);
    }
    if (raster.key !== key) {
      fill(raster.pixels);
      raster.pen.putImageData(raster.image, 0, 0);
      raster.key = key;
    }
    return raster.canvas;
  }
}

function blank(rows: number, columns: number): Raster {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const pen = canvas.getContext("2d")!;
  const image = pen.createImageData(columns, rows);
  return { canvas, pen, image, pixels: new Uint32Array(image.data.buffer), key: "" };
}
