# SPDX-License-Identifier: GPL-3.0-or-later
"""German: persons of a photograph, several photographs, doubtful poses, swapped sides, the scene's camera, the lens."""

PEOPLE = {
    "Find Persons": "Personen finden",
    "Choose Persons": "Personen auswählen",
    "Pose Person": "Person posieren",
    "Pose Person in Box": "Person im Rahmen posieren",
    "Mark Person": "Person markieren",
    "Photo Persons": "Personen im Foto",
    "Person": "Person",
    "Choose": "Auswählen",
    "Posed": "Posiert",
    "Box": "Rahmen",
    "Camera": "Kamera",
    "New Camera": "Neue Kamera",
    "Scene Camera": "Kamera der Szene",
    "Lens Distortion": "Verzeichnung der Linse",
    "k1": "k1",
    "k2": "k2",
    "p1": "p1",
    "p2": "p2",
    "Arms Swapped": "Arme vertauscht",
    "Legs Swapped": "Beine vertauscht",
    "Sides Swapped": "Seiten vertauscht",
    "Left and right": "Links und rechts",
    "Swap Left and Right": "Links und rechts tauschen",
    "The pose is doubtful: {reasons}": "Die Pose ist zweifelhaft: {reasons}",
    "the person is very small": "die Person ist sehr klein",
    "the person is upside down": "die Person steht auf dem Kopf",
    "less than half of the body is in the picture": "weniger als die Hälfte des Körpers ist im Bild",
    "much of the body is hidden": "viel vom Körper ist verdeckt",
    "persons overlap": "Personen überdecken sich",
    "left and right may be swapped": "links und rechts sind vielleicht vertauscht",
    "the network is not sure of what it sees": "das Netz ist unsicher, was es sieht",
    "the pictures may show different moments": "die Bilder zeigen vielleicht verschiedene Augenblicke",
    "Choose pictures of one moment": "Wählen Sie Bilder desselben Augenblicks",
    "the solver is not sure": "der Löser ist unsicher",
    "Drag the keypoints, or draw a box around the person": (
        "Ziehen Sie die Punkte, oder ziehen Sie einen Rahmen um die Person auf"
    ),
    "Nobody was found; drag a box around a person": (
        "Niemand wurde gefunden; ziehen Sie einen Rahmen um eine Person auf"
    ),
    "Nobody was found here; drag a box around the person": (
        "Hier wurde niemand gefunden; ziehen Sie einen Rahmen um die Person auf"
    ),
    "Found {persons}: click one to pose it, drag a box around others": (
        "{persons} gefunden: Klicken posiert eine, um andere einen Rahmen aufziehen"
    ),
    "Posed person {number}, keypoints met within {pixels:.1f} px": (
        "Person {number} posiert, Punkte auf {pixels:.1f} px getroffen"
    ),
    "Looking into the box": "Sieht in den Rahmen",
    "Putting persons on one floor": "Stellt die Personen auf einen Boden",
    "Release to look for a person in the box; Esc: cancel": (
        "Loslassen: im Rahmen nach einer Person suchen; Esc: abbrechen"
    ),
    "The box is too small": "Der Rahmen ist zu klein",
    "Click: pose this person   ·   Drag: a box around somebody who was not found": (
        "Klicken: diese Person posieren   ·   Ziehen: ein Rahmen um jemanden, der nicht gefunden wurde"
    ),
    "Use Find Persons, or set Persons to Choose and take a picture": (
        "Nehmen Sie Personen finden, oder stellen Sie Personen auf Auswählen und wählen Sie ein Bild"
    ),
    "Mark all persons on a photograph, small ones too; a click on one then makes its body": (
        "Alle Personen auf einem Foto markieren, auch kleine; ein Klick auf eine macht dann ihren Körper"
    ),
    "Choose a photograph, mark all persons on it, small ones too, and click those to pose": (
        "Ein Foto wählen, alle Personen darauf markieren, auch kleine, und die anklicken, die posiert werden sollen"
    ),
    "Make a body of the person that is clicked on the photograph; one that is posed becomes active": (
        "Aus der angeklickten Person des Fotos einen Körper machen; eine posierte wird aktiv"
    ),
    "Drag a box around a person who was not found, and make a body of that person": (
        "Einen Rahmen um eine nicht gefundene Person aufziehen und aus ihr einen Körper machen"
    ),
    "Mark the person below the mouse": "Die Person unter der Maus markieren",
    "Look at the photograph and take the tool that poses the persons who are clicked": (
        "Das Foto zeigen und das Werkzeug nehmen, das angeklickte Personen posiert"
    ),
    (
        "Pose persons of the photograph.\n"
        "\u2022 Click: make a body of the person.\n"
        "\u2022 Drag: a box around somebody who was not found"
    ): (
        "Personen des Fotos posieren.\n"
        "\u2022 Klicken: aus der Person einen Körper machen.\n"
        "\u2022 Ziehen: ein Rahmen um jemanden, der nicht gefunden wurde"
    ),
    "Number of the person, from 1; 0 for the one under the mouse": "Nummer der Person ab 1; 0 für die unter der Maus",
    "Left, top, right and bottom in pixels of the photograph": "Links, oben, rechts und unten in Pixeln des Fotos",
    "Mark all persons on the photograph; a click on one makes its body": (
        "Alle Personen auf dem Foto markieren; ein Klick auf eine macht ihren Körper"
    ),
    "Which camera has taken the picture": "Welche Kamera das Bild aufgenommen hat",
    "A new camera, placed by what the picture shows": "Eine neue Kamera, deren Ort das Bild ergibt",
    (
        "The scene's camera; of several pictures, for each the one that shows it or has its name. Lens and place are "
        "kept, and bodies appear where it sees them"
    ): (
        "Die Kamera der Szene; bei mehreren Bildern für jedes die, die es zeigt oder so heißt. Linse und Ort bleiben, "
        "und Körper erscheinen dort, wo sie sie sieht"
    ),
    "k1, k2, p1, p2 of the lens, as OpenCV's calibration gives them; all zero for a straight picture": (
        "k1, k2, p1, p2 der Linse, wie OpenCV sie beim Kalibrieren angibt; alle null für ein gerades Bild"
    ),
    "Show boxes around the persons that were found on the photograph": (
        "Rahmen um die Personen zeigen, die auf dem Foto gefunden wurden"
    ),
    "The left arm is the right one": "Der linke Arm ist der rechte",
    "The left leg is the right one": "Das linke Bein ist das rechte",
    "The body faces the other way: all that is left is right": (
        "Der Körper schaut in die andere Richtung: alles Linke ist rechts"
    ),
    "Pose from Several Images": "Pose aus mehreren Bildern",
    "Pictures Show": "Bilder zeigen",
    "One Pose": "Eine Pose",
    "One Person": "Eine Person",
    "What the pictures have in common": "Was die Bilder gemeinsam haben",
    "One person at one moment, from several sides: one body, and a camera for each picture": (
        "Eine Person in einem Augenblick, von mehreren Seiten: ein Körper, und eine Kamera für jedes Bild"
    ),
    "One person in several poses: a body for each picture, side by side, all of the same shape": (
        "Eine Person in mehreren Posen: ein Körper für jedes Bild, nebeneinander, alle von derselben Form"
    ),
    (
        "Find the person on two to eight photographs and solve all of them together: one pose that was seen from "
        "several sides, or one person in several poses"
    ): (
        "Die Person auf zwei bis acht Fotos finden und alle zusammen lösen: eine Pose, die von mehreren Seiten gesehen "
        "wurde, oder eine Person in mehreren Posen"
    ),
    "Choose two to eight photographs of one pose from several sides, or of one person in several poses": (
        "Zwei bis acht Fotos von einer Pose von mehreren Seiten wählen, oder von einer Person in mehreren Posen"
    ),
    "Show Picture": "Bild zeigen",
    "{name} shows {number} persons; the largest was taken": "{name} zeigt {number} Personen; die größte wurde genommen",
    "{name} fits the others worst": "{name} passt am schlechtesten zu den anderen",
    "Person {number} was left out: {reason}": "Person {number} wurde ausgelassen: {reason}",
    "Look through this photograph's camera and edit its keypoints; those placed on the others go on to count": (
        "Durch die Kamera dieses Fotos sehen und seine Punkte bearbeiten; auf den anderen platzierte zählen weiter"
    ),
    "Which of the pictures of the pose, from 0": "Welches der Bilder der Pose, von 0 an",
    "{number} picture": "{number} Bild",
    "{number} pictures": "{number} Bildern",
    "Posed from {pictures}, keypoints met within {pixels:.1f} px": (
        "Aus {pictures} posiert, Punkte auf {pixels:.1f} px getroffen"
    ),
    "Looking at picture {number} of {count}": "Sieht Bild {number} von {count} an",
    "Solving all pictures": "Löst alle Bilder",
    "Solving picture {number}": "Löst Bild {number}",
    "Picture {number} with the shape of all": "Bild {number} mit der Form aller",
}
