"""Draws the eight animals: a function for each, out of ellipses, blobs and limbs."""

from collections.abc import Callable

import numpy as np

from data_prep.synthetic.drawing import (
    Colour,
    Point,
    Sketch,
    blob,
    ellipse,
    limb,
    polygon,
    rotation,
    shade,
)

_PLUMES = ((60, 132, 204), (214, 70, 62), (244, 188, 58), (70, 164, 132), (132, 98, 178))
_CAT_COATS = ((232, 150, 76), (128, 128, 136), (62, 58, 64), (226, 206, 176), (168, 122, 88))
_DOG_COATS = ((206, 150, 90), (240, 226, 200), (150, 96, 58), (226, 182, 118), (108, 100, 98))
_BLACK, _WHITE, _PINK = (34, 30, 32), (250, 248, 244), (232, 150, 150)


def _pick(rng: np.random.Generator, *colours: Colour) -> Colour:
    """Returns one of the colours, a little lighter or darker."""
    return shade(colours[rng.integers(len(colours))], rng.uniform(0.88, 1.1))


def _eye(s: Sketch, x: float, y: float, r: float) -> None:
    """Adds a bright dark eye of radius r."""
    s.mark(_BLACK, ellipse(x, y, r, r * 1.15))
    s.mark(_WHITE, ellipse(x + r * 0.3, y + r * 0.4, r * 0.35, r * 0.35))


def _leg(s: Sketch, coat: Colour, foot: Colour, hip: Point, x: float, w0: float, w1: float) -> None:
    """Adds a leg from the hip to the ground at x, with a hoof that points forward."""
    knee, shin = (hip[0] * 0.45 + x * 0.55, hip[1] * 0.45), (x, hip[1] * 0.25)
    s.add(coat, limb(hip, (hip[0], hip[1] * 0.6), knee, w0, w1 * 1.15))
    s.add(coat, limb(knee, shin, (x, w1 / 2), w1 * 1.15, w1))
    heel, toe = x - w1 * 0.55, x + w1 * 0.85
    s.add(foot, polygon((heel, 0), (heel + 0.2, w1), (x + w1 * 0.5, w1), (toe, 0)))


def _equine(
    s: Sketch, rng: np.random.Generator, coat: Colour, muzzle: Colour, hoof: Colour
) -> None:
    """Adds what a horse and a zebra share: all but tail, mane, markings and eye."""
    stride = rng.uniform(-7, 7)
    far = shade(coat, 0.8)
    _leg(s, far, hoof, (26, 46), 30 - stride, 13, 5.5)
    _leg(s, far, hoof, (74, 46), 72 + stride, 11, 5.5)
    s.add(far, polygon((90, 100), (93, 111), (97, 100)))
    back, belly = ((10, 58), (20, 71), (38, 68), (58, 66), (74, 71)), ((64, 36), (42, 38), (20, 42))
    s.add(coat, blob(*back, (88, 60), (84, 44), *belly))
    s.add(coat, limb((75, 56), (84, 76), (93, 94), 33, 14))
    s.add(
        coat, limb((92, 95), (99, 91), (109, 78), 15, 9.5), polygon((86, 98), (87, 110), (93, 101))
    )
    s.mark(_BLACK, blob((14, 40), (42, 41), (64, 39), (84, 44), (80, 26), (24, 26)), opacity=0.14)
    _leg(s, coat, hoof, (20, 52), 19 + stride, 19, 5.5)
    _leg(s, coat, hoof, (80, 50), 81 - stride, 15, 5.5)
    s.mark(muzzle, ellipse(111, 76, 7.5, 6.5, -50))
    s.mark(_BLACK, ellipse(110.5, 77, 1.2, 0.8, 40))


def draw_horse(rng: np.random.Generator) -> Sketch:
    """Plain coat, long legs, flowing mane and tail."""
    s = Sketch()
    coat = _pick(rng, (150, 88, 48), (186, 116, 62), (104, 66, 46), (196, 160, 118), (92, 84, 84))
    mane = _pick(rng, (58, 38, 30), (40, 34, 36), (236, 212, 160))
    s.add(mane, limb((15, 60), (-6, 66), (1, 18), 7, 12), limb((13, 60), (-2, 58), (8, 24), 7, 7))
    _equine(s, rng, coat, shade(coat, 0.72), (48, 40, 38))
    s.add(
        mane, limb((92, 103), (74, 96), (70, 66), 7, 11), limb((90, 104), (98, 104), (99, 95), 6, 3)
    )
    s.add(mane, limb((88, 99), (82, 84), (80, 66), 8, 9))
    if rng.random() < 0.5:
        s.mark(_WHITE, limb((102, 95), (107, 90), (112, 82), 3, 3.5))
    _eye(s, 97.5, 92.5, 2)
    return s


def draw_zebra(rng: np.random.Generator) -> Sketch:
    """A horse's build, black stripes all over, a short brush of a mane."""
    s = Sketch()
    coat = _pick(rng, (246, 244, 238), (238, 232, 220))
    s.add(coat, limb((14, 62), (2, 60), (4, 36), 4, 3.5))
    s.add(_BLACK, ellipse(4.5, 29, 3.5, 9, 5))
    _equine(s, rng, coat, (62, 54, 56), _BLACK)
    lean, bars = rng.uniform(-3, 3), []
    for x in np.arange(30, 73, 8.2) + rng.uniform(-1, 1):
        bars.append(limb((x + lean, 68), (x + 2, 56), (x, 44), 4.6, 2))
    for i in range(4):  # The rump: stripes bow round the hip.
        bars.append(limb((8, 41 + i * 6.5), (20, 43 + i * 7), (29 - i, 62 + i * 3), 3.4, 2.4))
    for t in np.linspace(0.2, 0.88, 5):  # Across the neck, from the withers to the ears.
        x, y = 75 + 19 * t, 58 + 36 * t
        bars.append(limb((x - 13, y + 6), (x, y + 2), (x + 17 - 11 * t, y - 8 + 3 * t), 4.4, 2.4))
    bars += [limb((75, 56), (82, 55), (93, 49), 4, 2.4), limb((78, 47), (83, 46), (90, 41), 3, 2)]
    for t in (0.2, 0.45, 0.7):  # Down the face.
        x, y = 94 + 14 * t, 94 - 14 * t
        bars.append(limb((x + 7, y + 7), (x + 3, y + 1), (x - 2, y - 3), 2.8, 1.2))
    for x in (19, 26, 72, 80):  # Rings on the legs.
        bars += [limb((x - 12, y), (x, y - 2), (x + 12, y), 2.6, 2.6) for y in (12, 19, 26, 33)]
    s.mark(_BLACK, *bars)
    for colour, rx, ry, turn in ((_BLACK, 4, 3, 60), (coat, 3.4, 1.2, 150)):  # The mane.
        tufts = [(90 - 15 * t, 103 - 34 * t) for t in np.linspace(0.07, 0.93, 7)]
        s.add(colour, *[ellipse(x, y, rx, ry, turn) for x, y in tufts])
    s.mark(coat, ellipse(97.5, 92.5, 3.4, 3.4))
    _eye(s, 97.5, 92.5, 2)
    return s


def draw_giraffe(rng: np.random.Generator) -> Sketch:
    """A neck longer than its legs, patches, two knobbed horns."""
    s = Sketch()
    coat = _pick(rng, (246, 214, 140), (240, 200, 124), (250, 224, 164))
    spot = _pick(rng, (172, 98, 46), (140, 78, 40), (190, 116, 56))
    hoof, far, stride = (84, 58, 44), shade(coat, 0.84), rng.uniform(-5, 5)
    s.add(far, limb((17, 62), (6, 56), (9, 40), 3.5, 2.5))
    s.add(hoof, ellipse(9.5, 35, 2.6, 6))
    _leg(s, far, hoof, (24, 54), 29 - stride, 10, 4.5)
    _leg(s, far, hoof, (56, 54), 53 + stride, 9, 4.5)
    bow = rng.uniform(-4, 4)
    s.add(far, limb((76, 140), (70, 144), (66, 142), 4, 1.5))
    s.add(
        coat,
        blob((13, 58), (20, 68), (38, 71), (56, 79), (67, 70), (64, 54), (46, 49), (22, 49)),
        limb((59, 66), (66 + bow, 100), (76, 137), 21, 10),
        limb((76, 138), (83, 138), (93, 129), 12, 7.5),
        limb((76, 141), (71, 147), (66, 148), 5, 1.5),
    )
    s.mark(_BLACK, blob((16, 50), (30, 52), (46, 52), (68, 56), (60, 38), (24, 38)), opacity=0.12)
    _leg(s, coat, hoof, (20, 56), 20 + stride, 14, 5)
    _leg(s, coat, hoof, (61, 56), 62 - stride, 12, 5)
    patches = []
    for row, y in enumerate(np.arange(30, 134, 9.4)):
        for x in np.arange(6 + 4.5 * (row % 2), 96, 9.4):
            if y < 46 and not (14 < x < 26 or 54 < x < 66):  # The far legs stay plain.
                continue
            turn, radii = rng.uniform(0, 60), rng.uniform(3.5, 5.1, 6)
            spokes = [(x, y) + r * rotation(turn + 60 * k)[0] for k, r in enumerate(radii)]
            if x < 80 or y < 120:  # Nor is there a patch on the nose.
                patches.append(np.array(spokes))
    s.mark(spot, *patches)
    s.mark(shade(coat, 0.88), ellipse(93.5, 127.5, 5, 4.2, -40))
    s.mark(hoof, ellipse(95.5, 129, 1.1, 0.8))
    for x in (75.5, 80.5):
        s.add(spot, limb((x, 143), (x, 147), (x, 151), 3, 2.4))
        s.add(hoof, ellipse(x, 152, 2.4, 2.2))
    _eye(s, 83, 138, 1.9)
    return s


def draw_sheep(rng: np.random.Generator) -> Sketch:
    """A cloud of wool on thin dark legs, a dark face."""
    s = Sketch()
    wool = _pick(rng, (250, 246, 236), (240, 230, 212), (232, 228, 226))
    face = _pick(rng, (52, 46, 50), (74, 58, 52), (40, 40, 46))
    stride = rng.uniform(-4, 4)
    for x in (33 - stride, 61 + stride):
        _leg(s, shade(face, 0.75), _BLACK, (x, 26), x, 7, 6)
    for x in (20 + stride, 74 - stride):
        _leg(s, face, _BLACK, (x, 26), x, 7.5, 6.5)
    s.add(shade(wool, 0.93), ellipse(5, 46, 8, 6, 30))
    around = np.linspace(0, 2 * np.pi, 15, endpoint=False) + rng.uniform(0, 0.4)
    hub = [(47 + 34 * np.cos(a), 46 + 19 * np.sin(a)) for a in around]
    puffs = [ellipse(x, y, *rng.uniform(9, 12.5, 2)) for x, y in hub]
    s.add(wool, ellipse(47, 46, 38, 22), *puffs)
    s.mark(_BLACK, blob((4, 24), (30, 34), (60, 33), (88, 40), (80, 10), (20, 10)), opacity=0.1)
    for _ in range(11):
        x, y = rng.uniform(18, 72), rng.uniform(34, 60)
        s.mark(shade(wool, 0.84), limb((x - 4, y), (x, y - 6), (x + 4, y), 1.5, 1.5))
    s.add(face, ellipse(89, 55, 10.5, 14.5, 28), limb((80, 62), (72, 60), (69, 54), 6, 5))
    s.mark(shade(face, 1.45), ellipse(95, 47, 6, 5, 30))
    s.add(face, limb((90, 66), (97, 70), (102, 66), 5, 4))
    s.add(wool, *[ellipse(79 + 4.4 * k, 68 + (2.4, 4, 3.2)[k], 5.6, 5) for k in range(3)])
    s.mark(_WHITE, ellipse(91, 58, 2.9, 3.2))
    s.mark(_BLACK, ellipse(91.8, 58, 1.6, 2))
    return s


def draw_bear(rng: np.random.Generator) -> Sketch:
    """Rounded brown bulk on four thick paws, a pale muzzle, small round ears."""
    s = Sketch()
    coat = _pick(rng, (122, 76, 44), (98, 60, 38), (142, 92, 56), (74, 54, 44))
    far, pale, claw = shade(coat, 0.78), (206, 166, 122), shade(coat, 0.6)
    stride = rng.uniform(-4, 4)
    for x in (33 - stride, 70 + stride):
        s.add(far, limb((x, 34), (x, 20), (x, 9), 20, 17), ellipse(x + 3, 5.5, 11, 5.5))
    s.add(coat, ellipse(5, 52, 5, 5))
    s.add(far, ellipse(88, 85, 6.5, 6.5))
    back, chest = ((3, 46), (10, 66), (30, 74), (52, 73), (70, 82)), ((88, 78), (95, 60), (86, 38))
    s.add(coat, blob(*back, *chest, (62, 28), (30, 27), (9, 30)))
    s.add(coat, ellipse(93, 68, 17, 16.5), ellipse(101, 84, 7, 7))
    s.mark((222, 160, 130), ellipse(101.5, 84, 3.8, 3.8), opacity=0.55)
    s.mark(_BLACK, blob((8, 32), (30, 32), (62, 32), (88, 40), (84, 14), (20, 14)), opacity=0.2)
    for x in (16 + stride, 80 - stride):
        s.add(coat, limb((x, 38), (x, 22), (x, 9), 25, 18), ellipse(x + 3, 6, 12, 6))
        s.mark(claw, *[ellipse(x + 7 + 3.4 * k, 3.2, 1, 2.4) for k in range(3)])
    s.mark(_WHITE, limb((14, 64), (34, 76), (74, 82), 3, 5), opacity=0.1)
    s.add(pale, ellipse(106, 62, 10.5, 8.2, -12))
    s.add(_BLACK, ellipse(114, 65.5, 4, 3, -15))
    s.mark(_BLACK, limb((113, 62), (111, 56), (104, 57), 1.4, 1))
    _eye(s, 98, 73, 2.4)
    return s


def draw_bird(rng: np.random.Generator) -> Sketch:
    """A bright round songbird: beak, wing, fanned tail, two thin legs."""
    s = Sketch()
    coat = _pick(rng, *_PLUMES)
    breast = _pick(rng, (250, 232, 200), (246, 170, 96), (252, 244, 236))
    leg, lift = (206, 120, 50), rng.uniform(-8, 14)
    for k in range(3):  # The tail, a fan of three feathers.
        dx, dy = -36 * rotation(lift - 6 + 10 * k)[0]
        tail = limb((24, 38), (24 + dx / 2, 38 + dy / 2), (24 + dx, 38 + dy), 9, 8)
        s.add(shade(coat, 0.62 + 0.1 * k), tail)
    back, belly = ((14, 39), (30, 55), (52, 66), (70, 60)), ((79, 44), (70, 26), (50, 17), (28, 24))
    s.add(coat, blob(*back, *belly))
    s.add(coat, ellipse(73, 66, 17.5, 16.5))
    s.mark(breast, blob((82, 62), (66, 50), (56, 36), (36, 22), (54, 10), (84, 22), (92, 46)))
    if rng.random() < 0.5:
        crest = shade(coat, 0.85)
        s.add(
            crest,
            limb((70, 80), (66, 90), (58, 92), 6, 2),
            limb((74, 81), (74, 91), (68, 97), 6, 2),
        )
    s.add((240, 158, 44), polygon((88, 72), (104, 65), (88, 65)))
    s.add((214, 126, 36), polygon((88, 66), (101, 64), (87, 60)))
    for x in (45, 56):
        s.add(leg, limb((x, 18), (x + 2, 10), (x, 1.5), 3, 2.6))
        s.add(leg, limb((x - 4, 1.3), (x, 2.6), (x + 8, 1.3), 2.4, 2))
    wing = shade(coat, 0.78)
    s.add(wing, blob((62, 52), (46, 54), (24, 42), (8, 26 + lift / 3), (34, 26), (56, 34)))
    for k in range(3):
        feather = limb((20 + 9 * k, 32 - k), (32 + 8 * k, 33), (44 + 6 * k, 44), 1.2, 1.8)
        s.mark(shade(wing, 0.78), feather)
    _eye(s, 79, 70, 3.1)
    return s


def _cat_head(rng: np.random.Generator, coat: Colour, light: Colour, is_tabby: bool) -> Sketch:
    """Returns a face seen from the front, its middle at the origin."""
    s, iris = Sketch(), _pick(rng, (150, 196, 84), (236, 190, 70), (104, 176, 200))
    for k in (-1, 1):
        s.add(coat, blob((5 * k, 14), (19 * k, 34), (24 * k, 4), (14 * k, 2)))
        s.mark(_PINK, blob((10 * k, 15), (17.5 * k, 27), (20 * k, 9)))
    brow, jaw = (
        ((-26, -4), (-20, 13), (0, 18), (20, 13), (26, -4)),
        ((15, -17), (0, -20), (-15, -17)),
    )
    s.add(coat, blob(*brow, *jaw))
    if is_tabby:
        stripes = [limb((k * 6, 20), (k * 5, 14), (k * 4, 9), 3.4, 1.6) for k in (-1, 0, 1)]
        s.mark(shade(coat, 0.72), *stripes)
    s.mark(light, ellipse(-5, -10, 8, 6.5), ellipse(5, -10, 8, 6.5))
    for k in (-1, 1):
        s.mark(iris, ellipse(10.5 * k, 0, 4.9, 4.7))
        s.mark(_BLACK, ellipse(10.5 * k, 0, 2.1, 4.2))
        s.mark(_WHITE, ellipse(10.5 * k + 1.4, 2, 1.1, 1.1))
        for dy in (-1, 0, 1):
            bend, tip = (22 * k, -8 + 3 * dy), (34 * k, -10 + 6 * dy)
            s.add(_WHITE, limb((9 * k, -9 + dy), bend, tip, 1, 0.6))
        s.mark(_BLACK, limb((0, -9), (k, -14), (6 * k, -12), 1.2, 0.8))
    s.mark(_PINK, blob((-3, -6), (3, -6), (0, -9.5)))
    return s


def draw_cat(rng: np.random.Generator) -> Sketch:
    """Sitting, face to the viewer: pointed ears, whiskers, a long curled tail."""
    s, coat = Sketch(), _pick(rng, *_CAT_COATS)
    dark, light = shade(coat, 0.72), _pick(rng, (250, 240, 226), shade(coat, 1.15))
    sway, is_tabby = rng.uniform(-8, 8), rng.random() < 0.6
    s.add(dark, limb((30, 9), (-16, 2), (-6, 34 + sway), 10, 8))
    s.add(dark, limb((-6, 34 + sway), (-1, 50 + sway), (-14, 56 + sway), 8, 7))
    s.add(coat, blob((18, 8), (20, 34), (36, 62), (56, 68), (68, 56), (74, 30), (70, 4), (44, 1)))
    if is_tabby:
        for y in (24, 35, 46):
            s.mark(dark, limb((14, y), (30, y + 4), (39, y - 2), 4, 1.6))
    s.mark(dark, limb((28, 6), (46, 32), (50, 10), 2, 2.4), opacity=0.6)
    s.mark(light, blob((48, 64), (70, 66), (72, 44), (62, 32), (52, 44)))
    for x in (54, 67):
        s.add(coat, limb((x, 42), (x, 20), (x, 5), 13, 10))
    s.mark(dark, limb((61, 34), (61, 20), (61, 2), 1.2, 1.6), opacity=0.7)
    s.add(light, ellipse(56, 4, 8, 4.2), ellipse(70, 4, 8, 4.2))
    s.add(coat, ellipse(30, 5, 14, 5))
    head = _cat_head(rng, coat, light, is_tabby)
    s.strokes += head.moved(rotation(rng.uniform(-9, 9)), (58, 78)).strokes
    return s


def draw_dog(rng: np.random.Generator) -> Sketch:
    """Standing, tail up, long snout, a hanging ear and a collar."""
    s, coat = Sketch(), _pick(rng, *_DOG_COATS)
    ear = shade(coat, 0.62)
    far, pale, stride = shade(coat, 0.8), shade(coat, 1.18), rng.uniform(-6, 6)
    wag = rng.uniform(-8, 8)
    s.add(coat, limb((15, 54), (0, 62), (-2 + wag, 86), 9, 4.5))
    for x, hip in ((30 - stride, 28), (66 + stride, 66)):
        s.add(far, limb((hip, 38), (hip, 20), (x, 5), 12, 8), ellipse(x + 3, 3.6, 7, 3.6))
    back, belly = ((9, 50), (18, 62), (40, 60), (62, 62), (78, 60)), ((50, 31), (30, 35), (13, 36))
    s.add(coat, blob(*back, (84, 44), (72, 28), *belly))
    s.add(coat, limb((74, 52), (80, 62), (84, 74), 24, 19))
    s.mark(_BLACK, blob((14, 37), (32, 38), (52, 34), (78, 34), (70, 16), (24, 16)), opacity=0.16)
    for x, hip, w in ((18 + stride, 20, 18), (76 - stride, 74, 14)):
        s.add(coat, limb((hip, 42), (hip, 20), (x, 5), w, 8.5), ellipse(x + 3, 4, 8, 4))
    s.mark(pale, blob((66, 60), (84, 62), (92, 46), (80, 30), (70, 38)))
    if rng.random() < 0.5:
        s.mark(ear, ellipse(34, 56, 16, 11, 8), ellipse(90, 84, 9, 8))
    collar = _pick(rng, (206, 52, 52), (52, 112, 190), (46, 150, 96))
    s.add(collar, limb((70, 65), (82, 60), (93, 62), 5.5, 5.5))
    s.add((244, 200, 70), ellipse(89, 57, 3.2, 3.2))
    s.add(coat, ellipse(88, 79, 16, 14.5))
    if rng.random() < 0.5:
        s.add((226, 92, 104), limb((106, 70), (107, 64), (106, 60), 6, 6))
    s.add(coat, limb((94, 77), (104, 76), (112, 74), 18, 13))
    s.mark(pale, limb((100, 72), (108, 72), (116, 72), 9, 9))
    s.add(_BLACK, ellipse(117, 77.5, 4.4, 3.6, -10))
    s.mark(_BLACK, limb((117, 71), (110, 66), (102, 70), 1.4, 1.2))
    s.add(ear, blob((76, 91), (84, 90), (87, 76), (82, 58), (73, 60), (70, 76)))
    _eye(s, 97, 84, 2.6)
    return s


DRAW: dict[str, Callable[[np.random.Generator], Sketch]] = {
    "bear": draw_bear,
    "bird": draw_bird,
    "cat": draw_cat,
    "dog": draw_dog,
    "giraffe": draw_giraffe,
    "horse": draw_horse,
    "sheep": draw_sheep,
    "zebra": draw_zebra,
}
