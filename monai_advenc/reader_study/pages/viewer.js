// One image on a canvas: gray levels windowed, zoomed and moved. Independent of the study.

const LEVELS = 65536;
const LARGEST_ZOOM = 32;

export const AS_AT_FIRST = Object.freeze({ center: 0.5, width: 1, zoom: 1, x: 0, y: 0 });

/** Limits a view: center and width as fractions of the gray scale, x and y as fractions of the image. */
export function bounded(view) {
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  return {
    center: clamp(view.center, 0, 1),
    width: clamp(view.width, 0.005, 2),
    zoom: clamp(view.zoom, 0.5, LARGEST_ZOOM),
    x: clamp(view.x, -0.5, 0.5),
    y: clamp(view.y, -0.5, 0.5),
  };
}

export class Viewer {
  /** @param {HTMLCanvasElement} canvas @param {[number, number, number]} shape channels, height, width */
  constructor(canvas, shape, bytes) {
    [this.channels, this.height, this.width] = shape;
    if (bytes.byteLength !== 2 * this.channels * this.height * this.width) {
      throw new Error("the image is incomplete");
    }
    this.canvas = canvas;
    this.pixels = littleEndian(bytes);
    this.picture = document.createElement("canvas");
    this.picture.width = this.width;
    this.picture.height = this.height;
    this.windowed = null;
    this.view = AS_AT_FIRST;
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(canvas);
  }

  show(view) {
    this.view = view;
    this.draw();
  }

  /** Screen pixels per pixel of the image; at zoom 1 the image fits the canvas. */
  get scale() {
    const { width, height } = this.canvas.getBoundingClientRect();
    return Math.min(width / this.width, height / this.height) * this.view.zoom;
  }

  applyWindow() {
    const { center, width } = this.view;
    const key = `${center} ${width}`;
    if (this.windowed === key) return;
    this.windowed = key;
    const low = (center - width / 2) * (LEVELS - 1);
    const gain = 255 / (width * (LEVELS - 1));
    // A clamped array rounds and clips.
    const table = new Uint8ClampedArray(LEVELS);
    for (let level = 0; level < LEVELS; level += 1) table[level] = (level - low) * gain;
    const context = this.picture.getContext("2d");
    const image = context.createImageData(this.width, this.height);
    const count = this.width * this.height;
    const step = this.channels;
    const [green, blue] = step === 3 ? [1, 2] : [0, 0];
    for (let place = 0; place < count; place += 1) {
      image.data[4 * place] = table[this.pixels[step * place]];
      image.data[4 * place + 1] = table[this.pixels[step * place + green]];
      image.data[4 * place + 2] = table[this.pixels[step * place + blue]];
      image.data[4 * place + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  draw() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width || !height) return;
    const density = window.devicePixelRatio || 1;
    const [across, down] = [Math.round(width * density), Math.round(height * density)];
    if (this.canvas.width !== across) this.canvas.width = across;
    if (this.canvas.height !== down) this.canvas.height = down;
    this.applyWindow();
    const context = this.canvas.getContext("2d");
    const scale = this.scale * density;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, across, down);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.translate(across / 2, down / 2);
    context.scale(scale, scale);
    context.translate((this.view.x - 0.5) * this.width, (this.view.y - 0.5) * this.height);
    context.drawImage(this.picture, 0, 0);
  }

  /** Clears the image, so that the next one shows no trace of it. */
  close() {
    this.observer.disconnect();
    this.pixels = new Uint16Array(0);
  }
}

function littleEndian(bytes) {
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) return new Uint16Array(bytes);
  const view = new DataView(bytes);
  return Uint16Array.from({ length: bytes.byteLength / 2 }, (_, place) => view.getUint16(2 * place, true));
}
