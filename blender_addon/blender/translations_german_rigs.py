# SPDX-License-Identifier: GPL-3.0-or-later
"""German: posing the user's own rig."""

RIGS = {
    "My Rig": "Mein Rig",
    "Pose My Rig": "Mein Rig posieren",
    "Pose the selected rig like the body: solved on its own bones, so that feet stand and hands touch whatever its "
    "proportions": (
        "Das ausgewählte Rig wie den Körper posieren: auf seinen eigenen Knochen gelöst, so dass Füße stehen und Hände "
        "berühren, wie immer es gebaut ist"
    ),
    "All Frames": "Alle Bilder",
    "Every frame of the scene's range": "Jedes Bild im Bereich der Szene",
    "Find Bones": "Knochen finden",
    "Find which bone of the rig is which joint, by your presets, the bones' names, or the rest pose": (
        "Finden, welcher Knochen des Rigs welches Gelenk ist: nach den eigenen Vorgaben, den Namen oder der Ruhepose"
    ),
    "Save Preset": "Vorgabe speichern",
    "Keep these bones in your folder, for all rigs that have bones of these names": (
        "Diese Knochen im eigenen Ordner behalten, für alle Rigs mit Knochen dieser Namen"
    ),
    "Of the preset": "Der Vorgabe",
    "Load Preset": "Vorgabe laden",
    "Take the bones of a preset that you saved": "Die Knochen einer gespeicherten Vorgabe nehmen",
    "Preset": "Vorgabe",
    "One that you saved": "Eine gespeicherte",
    "There is no preset yet; save one with Save Preset": "Noch keine Vorgabe; mit Vorgabe speichern entsteht eine",
    "Saved {file}": "{file} gespeichert",
    "Bones": "Knochen",
    "Fingers": "Finger",
    "Joints": "Gelenke",
    "The bones of the joints": "Die Knochen der Gelenke",
    "Bone": "Knochen",
    "The bone of the rig that moves from this joint on": "Der Knochen des Rigs, der sich von diesem Gelenk an bewegt",
    "Guessed": "Geraten",
    "The bone's name does not tell its joint; look at it": "Der Name sagt das Gelenk nicht; bitte ansehen",
    "Found By": "Gefunden nach",
    "How the bones were found": "Wie die Knochen gefunden wurden",
    "Found by: {way}": "Gefunden: {way}",
    "names of Rigify": "Namen von Rigify",
    "names of Auto-Rig Pro": "Namen von Auto-Rig Pro",
    "names of bones": "Namen der Knochen",
    "names of Mixamo": "Namen von Mixamo",
    "names of joints": "Namen der Gelenke",
    "rest pose": "Ruhepose",
    "hand": "von Hand",
    "Like": "Wie",
    "The IKOL body, or another posed armature, whose pose the rig takes": (
        "Der IKOL-Körper oder ein anderes posiertes Skelett, dessen Pose das Rig annimmt"
    ),
    "Place": "Ort",
    "Where the rig stands": "Wo das Rig steht",
    "Where It Stands": "Wo der Körper steht",
    "Feet and hands are where the body has them in the scene": (
        "Füße und Hände sind, wo der Körper sie in der Szene hat"
    ),
    "On the Photograph": "Auf dem Foto",
    "The rig keeps its size and stands on the floor; its own camera sees it where the photograph shows the person, "
    "whose keypoints act on the rig itself. Without a photograph as Where It Stands": (
        "Das Rig behält seine Größe und steht auf dem Boden; seine eigene Kamera sieht es, wo das Foto die Person "
        "zeigt, deren Punkte auf das Rig selbst wirken. Ohne Foto wie Wo der Körper steht"
    ),
    "That sees the rig as the photograph shows the person": "Die das Rig sieht, wie das Foto die Person zeigt",
    "drivers set {bones}, and the pose does not; mute these drivers": (
        "{bones} werden von Treibern gesetzt und nicht von der Pose; diese stummschalten"
    ),
    "no keys can be set on {bones}: unlock their curves, or make the linked action a local one": (
        "{bones} lassen keine Keyframes zu: die Kurven entsperren oder die verknüpfte Aktion lokal machen"
    ),
    "{rig} has keys, and this pose has none: it is lost when the frame changes; choose Set Keys": (
        "{rig} hat Keyframes und diese Pose keine: beim Wechsel des Bildes geht sie verloren; Keyframes setzen wählen"
    ),
    "the photograph has no say: {reason}": "das Foto zählt nicht: {reason}",
    "the rig is scaled unevenly; apply its scale (Ctrl+A)": (
        "das Rig ist ungleich skaliert; seine Skalierung anwenden (Strg+A)"
    ),
    "its camera moves; choose Scene Camera to keep it as it is": (
        "seine Kamera bewegt sich; mit Kamera der Szene bleibt sie, wie sie ist"
    ),
    "the body is mirrored or scaled unevenly": "der Körper ist gespiegelt oder ungleich skaliert",
    "the body was posed otherwise since; use Re-solve": ("der Körper wurde seitdem anders posiert; Neu lösen hilft"),
    "Posed {rig}, keypoints met within {pixels:.1f} px": "{rig} posiert, Punkte auf {pixels:.1f} px getroffen",
    "Pose My Rig from Image": "Mein Rig aus Bild posieren",
    "Choose a photograph; the selected rig gets the pose of the person on it": (
        "Ein Foto wählen; das ausgewählte Rig bekommt die Pose der Person darauf"
    ),
    "Show Body": "Körper zeigen",
    "Show or hide the body that the rig is posed like: its keypoints are edited on it": (
        "Den Körper zeigen oder verbergen, wie der das Rig posiert ist: an ihm werden die Punkte bearbeitet"
    ),
    "Where the Rig Is": "Wo das Rig ist",
    "The pose is taken about the rig's own origin; it stays where you put it": (
        "Die Pose gilt um den Ursprung des Rigs; es bleibt, wo es steht"
    ),
    "Steps": "Schritte",
    "How far apart the feet are, and how far they go, on longer or shorter legs": (
        "Wie weit die Füße auseinander sind und gehen, auf längeren oder kürzeren Beinen"
    ),
    "As They Are": "Wie sie sind",
    "Feet stand where those of the body stand": "Die Füße stehen, wo die des Körpers stehen",
    "By the Legs": "Nach den Beinen",
    "Ways along the floor grow with the length of the legs, as for a giant or a child": (
        "Wege am Boden wachsen mit der Länge der Beine, wie bei einem Riesen oder einem Kind"
    ),
    "Set Keys": "Keyframes setzen",
    "Key the bones that are posed": "Die posierten Knochen mit Keyframes versehen",
    "Select the rig to pose: an armature that IKOL did not make": (
        "Das Rig auswählen: ein Skelett, das nicht von IKOL ist"
    ),
    "Select your own rig, to pose it like an IKOL body": (
        "Ein eigenes Rig auswählen, um es wie einen IKOL-Körper zu posieren"
    ),
    "Not found: {joints}; choose these bones yourself": "Nicht gefunden: {joints}; diese Knochen selbst wählen",
    "Found {number} bones": "{number} Knochen gefunden",
    "{bones} follow constraints and not their pose; mute these": (
        "{bones} folgen Constraints und nicht ihrer Pose; diese stumm schalten"
    ),
    "{joint} is {far:.0f} mm from where it was solved: limits in world space, of a location or of a scale, or scaled "
    "bones put it there": (
        "{joint} liegt {far:.0f} mm neben der gelösten Stelle: Grenzen im Weltraum, der Position oder der Skalierung, "
        "oder skalierte Knochen halten es dort"
    ),
    "the controls of {rig} are not known: its deform bones were posed instead; choose its FK controls under Bones to "
    "pose by these": (
        "die Steuerknochen von {rig} sind nicht bekannt: posiert wurden die Verformungsknochen; unter Knochen die "
        "FK-Steuerknochen wählen, um mit diesen zu posieren"
    ),
    "the controls of {rig} are not known: its deform bones were posed instead, and constraints hold {bones}; choose "
    "its FK controls under Bones, or mute the constraints": (
        "die Steuerknochen von {rig} sind nicht bekannt: posiert wurden die Verformungsknochen, und Constraints halten "
        "{bones}; unter Knochen die FK-Steuerknochen wählen oder die Constraints stumm schalten"
    ),
    "Posed {rig}, joints within {residual:.1f} mm": "{rig} posiert, Gelenke auf {residual:.1f} mm",
    "Export My Rig": "Mein Rig exportieren",
    "Write the rig with its meshes and its motion for another program: where its bones are in the scene, frame by "
    "frame, those of a control rig that move the skin. The rig itself is not changed": (
        "Das Rig mit Meshes und Bewegung für ein anderes Programm schreiben: wo seine Knochen in der Szene sind, Bild "
        "für Bild, bei einem Steuerrig die, welche die Haut bewegen. Das Rig selbst bleibt, wie es ist"
    ),
    "Names": "Namen",
    "How the bones of joints and fingers are named; other bones keep their names": (
        "Wie die Knochen von Gelenken und Fingern heißen; andere Knochen behalten ihren Namen"
    ),
    "The rig's own names": "Die eigenen Namen des Rigs",
    "Posing the rig": "Das Rig wird posiert",
}
