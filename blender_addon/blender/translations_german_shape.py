# SPDX-License-Identifier: GPL-3.0-or-later
"""German: fingers and face, shape and measurements, other programs' files."""

_SIDES = {"Left": ("Linker", "Linkes"), "Right": ("Rechter", "Rechtes")}
"""By gender: masculine, neuter."""

_FINGERS = {
    "Index": "Zeigefinger", "Middle": "Mittelfinger", "Pinky": "kleiner Finger", "Ring": "Ringfinger",
    "Thumb": "Daumen",
}  # fmt: skip

_FINGER_JOINTS = {
    f"{side} {finger} {part} (joint)": f"{german} {name} {part} (Gelenk)"
    for side, (german, _) in _SIDES.items()
    for finger, name in _FINGERS.items()
    for part in (1, 2, 3)
}

SHAPE = {
    **_FINGER_JOINTS,
    **{f"{side} Eye (joint)": f"{german} Auge (Gelenk)" for side, (_, german) in _SIDES.items()},
    "Jaw (joint)": "Kiefer (Gelenk)",
    "Import Motion": "Bewegung importieren",
    "IKOL: Import Motion": "IKOL: Bewegung importieren",
    "Choose a file with a motion, markers or keypoints and give it to a body": (
        "Eine Datei mit einer Bewegung, Markern oder Punkten wählen und einem Körper geben"
    ),
    "Give a body the motion of a file: AMASS .npz, .smpl, HybrIK .pk, .bvh; or solve it to markers (.trc, .c3d) or "
    "keypoints (.json of OpenPose, COCO or BlazePose; of OpenPose also a folder). The solver's Python reads it": (
        "Einem Körper die Bewegung einer Datei geben: AMASS .npz, .smpl, HybrIK .pk, .bvh; oder ihn nach Markern "
        "(.trc, .c3d) oder Punkten (.json von OpenPose, COCO oder BlazePose; von OpenPose auch ein Ordner) lösen. Das "
        "Python des Lösers liest sie"
    ),
    "Up": "Oben",
    "Which way is up in the file": "Welche Richtung in der Datei oben ist",
    "Automatic": "Automatisch",
    "As the motion looks": "Wie die Bewegung aussieht",
    "Y": "Y",
    "Z": "Z",
    "As in SMPL's own world": "Wie in SMPLs eigener Welt",
    "As in AMASS and Blender": "Wie in AMASS und Blender",
    "The axes of a camera, Y down": "Die Achsen einer Kamera, Y nach unten",
    "Which of several persons in the file, from 0": "Welche von mehreren Personen in der Datei, ab 0",
    "Picture Size": "Bildgröße",
    "Width and height of the picture in pixels, for keypoints on a picture; 0 where the file says it": (
        "Breite und Höhe des Bildes in Pixeln, für Punkte auf einem Bild; 0, wo die Datei sie nennt"
    ),
    "Frames a second of the file; 0 where the file says it": ("Bilder je Sekunde der Datei; 0, wo die Datei sie nennt"),
    "IKOL: reading {name}.  Esc to cancel": "IKOL: {name} wird gelesen.  Esc bricht ab",
    "IKOL: writing {name}.  Esc to cancel": "IKOL: {name} wird geschrieben.  Esc bricht ab",
    "Export Keypoints": "Punkte exportieren",
    "Keypoints of a Photograph (IKOL)": "Punkte eines Fotos (IKOL)",
    "Write the keypoints of the photograph as you have left them, for another program: without those that are muted or "
    "removed. The solver's Python writes them": (
        "Die Punkte des Fotos so, wie Sie sie hinterlassen haben, für ein anderes Programm schreiben: ohne die, die "
        "stumm oder entfernt sind. Das Python des Lösers schreibt sie"
    ),
    "Which points are written, and how": "Welche Punkte geschrieben werden, und wie",
    "OpenPose": "OpenPose",
    "COCO": "COCO",
    "COCO-WholeBody": "COCO-WholeBody",
    "BlazePose": "BlazePose",
    "25 points of the body, with hands and face where there are some": (
        "25 Punkte des Körpers, mit Händen und Gesicht, wo es welche gibt"
    ),
    "17 points, without hands and feet": "17 Punkte, ohne Hände und Füße",
    "133 points; those that are not known are missing": "133 Punkte; was nicht bekannt ist, fehlt",
    "MediaPipe's 33 points, as fractions of the picture": "MediaPipes 33 Punkte, als Anteile des Bildes",
    "Wrote {number} keypoints to {name}": "{number} Punkte nach {name} geschrieben",
    ".smpl": ".smpl",
    "HybrIK": "HybrIK",
    "TRC": "TRC",
    "C3D": "C3D",
    "The same as Meshcapade's programs read it; the solver's Python writes it": (
        "Dasselbe, wie Meshcapades Programme es lesen; das Python des Lösers schreibt es"
    ),
    "The same as HybrIK's res.pk, without fingers; the solver's Python writes it": (
        "Dasselbe als HybrIKs res.pk, ohne Finger; das Python des Lösers schreibt es"
    ),
    "Places of the joints as markers, as text for OpenSim; the solver's Python writes it": (
        "Orte der Gelenke als Marker, als Text für OpenSim; das Python des Lösers schreibt es"
    ),
    "Places of the joints as markers, for motion capture; the solver's Python writes it": (
        "Orte der Gelenke als Marker, für Bewegungserfassung; das Python des Lösers schreibt es"
    ),
    "Read {number} frames of {name}": "{number} Bilder aus {name} gelesen",
    "Motion on a Body (IKOL)": "Bewegung für einen Körper (IKOL)",
    "Body for Other Programs (IKOL)": "Körper für andere Programme (IKOL)",
    "Export Body": "Körper exportieren",
    "Write the body with its motion for another program: where its joints are in the scene, frame by frame, with bones "
    "named as that program wants them. The body itself is not changed": (
        "Den Körper mit seiner Bewegung für ein anderes Programm schreiben: wo seine Gelenke in der Szene sind, Bild "
        "für Bild, mit Knochen, die wie in jenem Programm heißen. Der Körper selbst bleibt, wie er ist"
    ),
    "Format": "Format",
    "Which kind of file is written": "Welche Art von Datei geschrieben wird",
    "FBX": "FBX",
    "glTF": "glTF",
    "BVH": "BVH",
    "USD": "USD",
    "For Unreal, Unity, Maya and most others": "Für Unreal, Unity, Maya und die meisten anderen",
    "One binary file, for the web, Godot and engines": "Eine Binärdatei, für das Web, Godot und Spiele",
    "Motion and bones without a mesh, as text": "Bewegung und Knochen ohne Netz, als Text",
    "For Omniverse, Houdini and film pipelines": "Für Omniverse, Houdini und Filmproduktionen",
    "Skeleton": "Skelett",
    "How bones are named and which way they point": "Wie Knochen heißen und wohin sie zeigen",
    "Unreal": "Unreal",
    "Unity": "Unity",
    "Mixamo": "Mixamo",
    "SMPL": "SMPL",
    "Names of Unreal's mannequin, with a root bone": "Namen der Puppe von Unreal, mit einem Wurzelknochen",
    "Names of Unity's humanoid, which its avatar maps by itself": (
        "Namen von Unitys Humanoid, den dessen Avatar von selbst zuordnet"
    ),
    "Names of Mixamo's skeletons": "Namen der Skelette von Mixamo",
    "The names and axes of the body as it is": "Namen und Achsen des Körpers, wie er ist",
    "Frames": "Bilder",
    "What is written of the motion": "Was von der Bewegung geschrieben wird",
    "Frame Range": "Alle Bilder",
    "All frames of the scene": "Alle Bilder der Szene",
    "Current Frame": "Aktuelles Bild",
    "Only the pose that is shown": "Nur die Pose, die zu sehen ist",
    "Wrote {number} frames to {name}": "{number} Bilder nach {name} geschrieben",
    "Save Pose Asset": "Pose als Asset sichern",
    "Put the pose into this file's pose library: an action of one frame, marked as an asset, with a picture. The asset "
    "browser and the pose library's shelf show it": (
        "Die Pose in die Posenbibliothek dieser Datei legen: eine Aktion von einem Bild, als Asset markiert, mit einem "
        "Bild davon. Der Asset-Browser und die Leiste der Posenbibliothek zeigen sie"
    ),
    "Name": "Name",
    "Of the pose; empty for that of the body": "Der Pose; leer für den des Körpers",
    "Saved the pose {name}": "Pose {name} gesichert",
    "Lock Shape": "Gestalt sperren",
    "Fit Shape": "Gestalt anpassen",
    "Height": "Körpergröße",
    "Arm Span": "Armspannweite",
    "Leg Length": "Beinlänge",
    "Inseam": "Schrittlänge",
    "From the crown to the sole": "Vom Scheitel bis zur Sohle",
    "From finger tip to finger tip, arms to the sides": "Zwischen den Fingerspitzen, die Arme zur Seite gestreckt",
    "From the joints of the hips to the sole": "Von den Hüftgelenken bis zur Sohle",
    "From the crotch to the sole": "Vom Schritt bis zur Sohle",
    "The file has {told} betas, the body {have}; the others are left out": (
        "Die Datei hat {told} Betas, der Körper {have}; die übrigen fehlen"
    ),
    "AMASS": "AMASS",
    "Rotations and shape of SMPL's joints as numbers, for research; its own bone names": (
        "Drehungen und Gestalt von SMPLs Gelenken als Zahlen, für die Forschung; mit eigenen Namen der Knochen"
    ),
    "Page": "Seite",
    "Which ten sliders of the shape are shown": "Welche zehn Regler der Gestalt gezeigt werden",
    "{first} to {last} of {count}": "{first} bis {last} von {count}",
    "One direction of the shape, in standard deviations; the pose is fitted to the picture meanwhile": (
        "Eine Richtung der Gestalt, in Standardabweichungen; die Pose wird dabei an das Bild angepasst"
    ),
    "Pictures and Re-solve leave the shape of this body as it is, as for all pictures of one shot; without it, each "
    "fits the shape again": (
        "Bilder und „Neu lösen“ lassen die Gestalt dieses Körpers, wie sie ist, etwa für alle Bilder einer "
        "Einstellung; sonst passt jedes die Gestalt neu an"
    ),
    "Solve again and fit the shape to the picture once, also a locked one; the poses on all other frames get it too": (
        "Neu lösen und dabei die Gestalt einmal an das Bild anpassen, auch eine gesperrte; die Posen auf allen anderen "
        "Bildern bekommen sie auch"
    ),
}
