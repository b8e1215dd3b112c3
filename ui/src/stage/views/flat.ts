/** Two axes: the image as it is. */

import { sliceOf } from "../arrays";
import { fromSource } from "../source";
import { fillImage } from "../layers";
import { placed } from "../viewport";
import { drawCells } from "../drawing";
import type { View } from "./view";

export const flat: View = {
  kind: "flat",

  lay(picture, area, camera, grid) {
    const [rows, columns] = picture.size as [number, number];
    // The finer source has square pixels, also where the model's input was squeezed from it.
    const squeezed = picture.fine !== null && !grid;
    const height = squeezed ? picture.box[2]! / rows : 1;
    const width = squeezed ? picture.box[3]! / columns : 1;
    const scale = Math.min(area.height / (rows * height), area.width / (columns * width)) * camera.zoom;
    const centre = camera.centre ? fromSource(picture, camera.centre) : [rows / 2, columns / 2];
    return [
      {
        frame: area,
        down: 0,
        right: 1,
        rows: placed(area.y, area.height, rows, scale * height, centre[0]!),
        columns: placed(area.x, area.width, columns, scale * width, centre[1]!),
      },
    ];
  },

  ground({ pen, rasters, under, grid }, pane, plane) {
    const { key, size, image, channels, fine } = pane.picture;
    const shown = fine !== null && !grid ? fine : { image, rows: size[0]!, columns: size[1]! };
    const slice = sliceOf([shown.rows, shown.columns], 0, 1, [0, 0]);
    const name = `picture ${pane.slot} ${shown === fine ? "fine" : "grid"} ${under ? "grey" : "colours"}`;
    const canvas = rasters.canvas(name, key, shown.rows, shown.columns, (pixels) =>
      fillImage(pixels, shown.image, shown === fine ? 3 : channels, slice, under),
    );
    drawCells(pen, canvas, pane, plane, !grid);
  },

  notes() {},
};
