# SPDX-License-Identifier: GPL-3.0-or-later
"""German: what is shown while the mouse rests on a button."""

TOOLTIPS = {
    "A network of yours: its manifest, weights of HybrIK or IKOL, or a training's folder; empty for none": (
        "Ein Netz von Ihnen: sein Manifest, Gewichte von HybrIK oder IKOL, oder der Ordner eines Trainings; leer für "
        "keines"
    ),
    "A new armature for each person": "Ein neues Skelett für jede Person",
    "A point of the body": "Ein Punkt des Körpers",
    "A set of weights and locks": "Ein Satz von Gewichten und fixierten Punkten",
    "All points of the body": "Alle Punkte des Körpers",
    "Always the processor": "Immer der Prozessor",
    "An NVIDIA graphics card": "Eine Grafikkarte von NVIDIA",
    "Both legs; hips and upper body stay": "Beide Beine; Becken und Oberkörper bleiben",
    "Bring all removed keypoints back to where they were detected": (
        "Alle entfernten Punkte dorthin zurückholen, wo sie erkannt wurden"
    ),
    "Choose a file with 3D keypoints and pose a body by them": (
        "Eine Datei mit 3D-Punkten wählen und einen Körper danach posieren"
    ),
    "Choose a photograph and make a posed, keyed armature of each person on it": (
        "Ein Foto wählen und aus jeder Person darauf ein posiertes Skelett mit Schlüsselbild machen"
    ),
    "Collar bone, upper arm, forearm and hand on the left": "Schlüsselbein, Oberarm, Unterarm und Hand links",
    "Collar bone, upper arm, forearm and hand on the right": "Schlüsselbein, Oberarm, Unterarm und Hand rechts",
    "Colour the mesh by how far the body misses its keypoints": (
        "Das Netz danach einfärben, wie weit der Körper seine Punkte verfehlt"
    ),
    "Detected points you have not touched may be off by 1.2 % of the picture": (
        "Erkannte Punkte, die Sie nicht berührt haben, dürfen um 1,2 % des Bildes danebenliegen"
    ),
    (
        "Drag keypoints over the photograph: the body follows.\n"
        "• Double click: add one for the nearest joint.\n"
        "• Right click or X: remove.\n"
        "• Arrow keys: nudge by a pixel"
    ): (
        "Punkte über das Foto ziehen: der Körper folgt.\n"
        "• Doppelklick: einen für das nächste Gelenk hinzufügen.\n"
        "• Rechtsklick oder X: entfernen.\n"
        "• Pfeiltasten: um ein Pixel schieben"
    ),
    "End the solver process and free its memory": "Den Prozess des Lösers beenden und seinen Speicher freigeben",
    "End the solver process and start a new one; what is in the scene stays as it is": (
        "Den Prozess des Lösers beenden und einen neuen starten; was in der Szene ist, bleibt, wie es ist"
    ),
    "Every person that is found, up to four; they share one camera": (
        "Jede gefundene Person, bis zu vier; sie teilen sich eine Kamera"
    ),
    "Everything may move": "Alles darf sich bewegen",
    "Find the persons on a photograph and make a posed, keyed armature of each, with a camera that sees them so": (
        "Die Personen auf einem Foto finden und aus jeder ein posiertes Skelett mit Schlüsselbild machen, dazu eine "
        "Kamera, die sie so sieht"
    ),
    "First frame; the scene's when both are 0": "Erstes Einzelbild; das der Szene, wenn beide 0 sind",
    "For whom of the picture a body is made": "Für wen auf dem Bild ein Körper gemacht wird",
    "Forget all edits, weights and locks: only the picture counts": (
        "Alle Änderungen, Gewichte und Fixierungen vergessen: nur das Bild zählt"
    ),
    "Forget place, tolerance, lock and mute of the selected keypoints: what was detected counts again": (
        "Ort, Toleranz, Fixierung und Stummschaltung der ausgewählten Punkte vergessen: was erkannt wurde, zählt wieder"
    ),
    "Give all keypoints of the body a set of weights and locks": (
        "Allen Punkten des Körpers einen Satz von Gewichten und Fixierungen geben"
    ),
    "Give up the command that runs": "Den laufenden Befehl aufgeben",
    "Go through the poses that Alternatives has found, and take one": (
        "Die Posen durchgehen, die Alternativen gefunden hat, und eine nehmen"
    ),
    "Hold it exactly where it is, as far as the body reaches, or let it go": (
        "Ihn genau da halten, wo er ist, soweit der Körper reicht, oder loslassen"
    ),
    (
        "Hold the selected keypoints exactly where they are, as far as the body reaches; again: let them go. "
        "What is out of reach is listed under Solve with its distance"
    ): (
        "Die ausgewählten Punkte genau da halten, wo sie sind, soweit der Körper reicht; noch einmal: loslassen. "
        "Was außer Reichweite ist, steht unter Lösen mit seinem Abstand"
    ),
    (
        "How far the body may miss the selected keypoints in space, as one standard deviation in centimetres. "
        "Small: they are met closely; large: they hardly count"
    ): (
        "Wie weit der Körper die ausgewählten Punkte im Raum verfehlen darf, als Standardabweichung in Zentimetern. "
        "Klein: sie werden gut getroffen; groß: sie zählen kaum"
    ),
    (
        "How far the body may miss the selected keypoints on the picture, as one standard deviation in pixels. "
        "Small: they are met closely; large: they hardly count"
    ): (
        "Wie weit der Körper die ausgewählten Punkte auf dem Bild verfehlen darf, als Standardabweichung in Pixeln. "
        "Klein: sie werden gut getroffen; groß: sie zählen kaum"
    ),
    "Keep what is selected": "Behalten, was ausgewählt ist",
    "Keypoint that the sliders show": "Punkt, den die Regler zeigen",
    "Last frame; the scene's when both are 0": "Letztes Einzelbild; das der Szene, wenn beide 0 sind",
    "Let it have no say, or let it count again": "Ihn nicht mitreden lassen, oder wieder zählen lassen",
    "Let only the selected keypoints count; again: let all of them count": (
        "Nur die ausgewählten Punkte zählen lassen; noch einmal: alle zählen lassen"
    ),
    "Let the picture have its say on every frame, and not only the handles": (
        "Auf jedem Einzelbild auch das Bild mitreden lassen und nicht nur die Griffe"
    ),
    "Let the selected keypoints have no say, but keep what is known of them; again: let them count": (
        "Die ausgewählten Punkte nicht mitreden lassen, aber behalten, was von ihnen bekannt ist; noch einmal: zählen "
        "lassen"
    ),
    (
        "List in the panel what holds the selected joint where it is, the strongest first: which evidence, how far the "
        "pose is from it, and how far it moves the joint"
    ): (
        "In der Seitenleiste zeigen, was das ausgewählte Gelenk an seinem Ort hält, das Stärkste zuerst: welcher "
        "Hinweis, wie weit die Pose von ihm abweicht und wie weit er das Gelenk bewegt"
    ),
    "Load the network also if its file is a program, which can do all that you can on this computer": (
        "Das Netz auch laden, wenn seine Datei ein Programm ist, das alles kann, was Sie auf diesem Rechner können"
    ),
    "Lock ankles and feet where they are now": "Knöchel und Füße da fixieren, wo sie jetzt sind",
    "Look through the camera of the photograph and take the tool that drags keypoints over it": (
        "Durch die Kamera des Fotos sehen und das Werkzeug nehmen, das Punkte darüber zieht"
    ),
    "Look whether the solver's Python has everything that the solver needs": (
        "Nachsehen, ob das Python des Lösers alles hat, was er braucht"
    ),
    "Make the handles of the body again, such as after it was copied or appended without them": (
        "Die Griffe des Körpers neu machen, etwa nachdem er ohne sie kopiert oder angehängt wurde"
    ),
    "Mark the keypoint below the mouse": "Den Punkt unter der Maus hervorheben",
    "Move the selected keypoints by some pixels of the photograph": (
        "Die ausgewählten Punkte um einige Pixel des Fotos schieben"
    ),
    "Move the selected keypoints over the photograph; the body follows while the mouse moves": (
        "Die ausgewählten Punkte über das Foto bewegen; der Körper folgt, während die Maus sich bewegt"
    ),
    "Names of the selected keypoints, with commas between them": "Namen der ausgewählten Punkte, mit Kommas dazwischen",
    "Neck and head": "Hals und Kopf",
    "Only the bones that are selected in pose mode": "Nur die Knochen, die im Posenmodus ausgewählt sind",
    "Only the person that is largest on the picture": "Nur die Person, die auf dem Bild am größten ist",
    "Only these points and yours count; elbows and knees follow": (
        "Nur diese Punkte und Ihre zählen; Ellbogen und Knie folgen"
    ),
    "Open what the solver process wrote": "Öffnen, was der Prozess des Lösers geschrieben hat",
    "Pixels to the right and down": "Pixel nach rechts und nach unten",
    "Pose a body by 3D keypoints from a .npz or .json file (names and points in metres, Y up), without a picture": (
        "Einen Körper nach 3D-Punkten aus einer .npz- oder .json-Datei posieren (Namen und Punkte in Metern, Y nach "
        "oben), ohne Bild"
    ),
    (
        "Put versions, state, the last message and the end of the solver's log on the clipboard, to be sent to someone "
        "who helps; your home folder is written as ~"
    ): (
        "Versionen, Zustand, letzte Meldung und das Ende des Protokolls in die Zwischenablage legen, um es jemandem zu "
        "schicken, der hilft; Ihr Benutzerordner wird als ~ geschrieben"
    ),
    "Say where the nearest joint is on the photograph, or bring a removed keypoint back to there": (
        "Sagen, wo auf dem Foto das nächste Gelenk ist, oder einen entfernten Punkt dorthin zurückholen"
    ),
    "Select all keypoints": "Alle Punkte auswählen",
    "Select all keypoints that are seen over the photograph, or none": (
        "Alle Punkte auswählen, die über dem Foto zu sehen sind, oder keinen"
    ),
    "Select no keypoint": "Keinen Punkt auswählen",
    "Select one keypoint more, or take it out of the selection": (
        "Einen Punkt mehr auswählen, oder ihn aus der Auswahl nehmen"
    ),
    "Select the keypoint whose exact place on the photograph would make the pose surer than any other": (
        "Den Punkt auswählen, dessen genauer Ort auf dem Foto die Pose sicherer machen würde als jeder andere"
    ),
    "Select the keypoints within a box; with Shift in addition, with Ctrl take them out": (
        "Die Punkte in einem Rahmen auswählen; mit Umschalt dazu, mit Strg heraus"
    ),
    "Set keys for the whole pose on the current frame, marked as generated": (
        "Für die ganze Pose auf dem aktuellen Einzelbild Schlüsselbilder setzen, als erzeugt markiert"
    ),
    "Show a dashed line from each keypoint to where the body has it": (
        "Eine gestrichelte Linie von jedem Punkt dorthin zeigen, wo der Körper ihn hat"
    ),
    "Show for each joint how far it may be off: one standard deviation, in depth and along the picture": (
        "Für jedes Gelenk zeigen, wie weit es danebenliegen kann: eine Standardabweichung, in der Tiefe und entlang "
        "des Bildes"
    ),
    "Show the body in the 3D view as its photograph does, with the photograph behind it": (
        "Den Körper in der 3D-Ansicht so zeigen wie sein Foto, mit dem Foto dahinter"
    ),
    "Show the keypoints over the photograph in the camera view": "Die Punkte in der Kameraansicht über dem Foto zeigen",
    "Show the page on which the solver's Python is named": "Die Seite zeigen, auf der das Python des Lösers steht",
    (
        "Show up to four poses of a limb that fit the picture about as well; arrow keys go through them, Enter takes "
        "one, Esc leaves all as it was"
    ): (
        "Bis zu vier Posen eines Glieds zeigen, die etwa gleich gut zum Bild passen; Pfeiltasten gehen durch, Enter "
        "nimmt eine, Esc lässt alles, wie es war"
    ),
    "Solve again from the current pose, once for this part of the body; nothing else moves": (
        "Von der jetzigen Pose aus neu lösen, einmal für diesen Teil des Körpers; sonst bewegt sich nichts"
    ),
    (
        "Solve again from the current pose: keypoints that you moved are kept, the rest of the picture keeps its say. "
        "Only the part of the body that is chosen in the panel moves"
    ): (
        "Von der jetzigen Pose aus neu lösen: Punkte, die Sie bewegt haben, bleiben, das übrige Bild redet weiter mit. "
        "Nur der Teil des Körpers bewegt sich, der in der Seitenleiste gewählt ist"
    ),
    (
        "Solve every frame with the handles where their keys, constraints and parents have them, and key the poses; "
        "each frame starts from the one before"
    ): (
        "Jedes Einzelbild mit den Griffen dort lösen, wo ihre Schlüsselbilder, Constraints und Eltern sie haben, und "
        "die Posen als Schlüsselbilder setzen; jedes beginnt beim vorigen"
    ),
    "Sort the list by how far the body misses each keypoint": (
        "Die Liste danach sortieren, wie weit der Körper jeden Punkt verfehlt"
    ),
    "Spine, neck, head and both arms; hips and legs stay": (
        "Wirbelsäule, Hals, Kopf und beide Arme; Becken und Beine bleiben"
    ),
    "Start the solver process; the commands that need it also start it by themselves": (
        "Den Prozess des Lösers starten; Befehle, die ihn brauchen, starten ihn auch selbst"
    ),
    "Take keypoints off the photograph: they have no say any more; a double click brings one back": (
        "Punkte vom Foto nehmen: sie reden nicht mehr mit; ein Doppelklick holt einen zurück"
    ),
    "Take out of the selection": "Aus der Auswahl nehmen",
    "Take the message away": "Die Meldung wegnehmen",
    "Take the selected keypoints off the picture: they have no say and are not shown": (
        "Die ausgewählten Punkte vom Bild nehmen: sie reden nicht mit und werden nicht gezeigt"
    ),
    "The IKOL armature that is active: a key on the current frame, its shape stays": (
        "Das aktive IKOL-Skelett: ein Schlüsselbild auf dem aktuellen Einzelbild, seine Gestalt bleibt"
    ),
    "The graphics card when there is one that fits, else the processor": (
        "Die Grafikkarte, wenn es eine passende gibt, sonst der Prozessor"
    ),
    "The keypoint that the panel shows": "Der Punkt, den die Seitenleiste zeigt",
    "The keypoint under the mouse instead of the selected ones": "Der Punkt unter der Maus anstatt der ausgewählten",
    "The lean of the upper body": "Die Neigung des Oberkörpers",
    "The limb of the selected handle, bone or keypoint": "Das Glied des ausgewählten Griffs, Knochens oder Punkts",
    "The most exact one": "Das genaueste",
    "The point that is moved, when a script moves it": "Der Punkt, der bewegt wird, wenn ein Skript ihn bewegt",
    "The three joints of the spine; arms and head go along": (
        "Die drei Gelenke der Wirbelsäule; Arme und Kopf gehen mit"
    ),
    "Thigh and shin on the left": "Oberschenkel und Unterschenkel links",
    "Thigh and shin on the right": "Oberschenkel und Unterschenkel rechts",
    "Thigh, shin, foot and toes on the left": "Oberschenkel, Unterschenkel, Fuß und Zehen links",
    "Thigh, shin, foot and toes on the right": "Oberschenkel, Unterschenkel, Fuß und Zehen rechts",
    "Twice as fast, a little less exact": "Doppelt so schnell, etwas weniger genau",
    "Two opposite corners in pixels of the region: x, y, x, y": (
        "Zwei gegenüberliegende Ecken in Pixeln des Bereichs: x, y, x, y"
    ),
    "Upper arm and forearm on the left": "Oberarm und Unterarm links",
    "Upper arm and forearm on the right": "Oberarm und Unterarm rechts",
    "Way on the picture, when a script moves the point: pixels to the right and down": (
        "Weg auf dem Bild, wenn ein Skript den Punkt bewegt: Pixel nach rechts und nach unten"
    ),
    "What becomes selected": "Was ausgewählt wird",
    "What is switched on or off": "Was ein- oder ausgeschaltet wird",
    "Where it is on the picture: pixels from the top left corner": (
        "Wo er auf dem Bild ist: Pixel von der linken oberen Ecke"
    ),
    "Where the solver computes": "Wo der Löser rechnet",
    "Which armature gets the pose": "Welches Skelett die Pose bekommt",
    "Which landmark network looks at the picture": "Welches Netz für Körperpunkte das Bild ansieht",
    "Which limb may be posed another way": "Welches Glied anders posiert werden darf",
    "Which part of the body a solve or a drag may move; nothing else moves": (
        "Welchen Teil des Körpers ein Lösen oder Ziehen bewegen darf; sonst bewegt sich nichts"
    ),
    "Your own body: an .npz file in the layout of SMPL's model files; empty for the default body": (
        "Ihr eigener Körper: eine .npz-Datei im Aufbau der Modelldateien von SMPL; leer für den Standardkörper"
    ),
    "Your own network, named in the preferences": "Ihr eigenes Netz, in den Einstellungen genannt",
    "Which part of the body may move": "Welcher Teil des Körpers sich bewegen darf",
}
