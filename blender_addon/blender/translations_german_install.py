# SPDX-License-Identifier: GPL-3.0-or-later
"""German: the installation of the solver."""

INSTALLATION = {
    "Solver": "Löser",
    "Install Solver": "Löser installieren",
    "Install from Disk": "Von Datenträger installieren",
    "Verify": "Überprüfen",
    "Uninstall": "Deinstallieren",
    "Repair": "Reparieren",
    "Continue Installation": "Installation fortsetzen",
    "Solver not installed": "Löser nicht installiert",
    "Installation incomplete": "Installation unvollständig",
    "Installing solver": "Löser wird installiert",
    "Install for CUDA": "Für CUDA installieren",
    "Install the solver with PyTorch for CUDA: larger, and it runs without a graphics card too": (
        "Den Löser mit PyTorch für CUDA installieren: größer, und er läuft auch ohne Grafikkarte"
    ),
    "Compare every file of the installed solver with its hash, and fetch and install the packages again that are "
    "damaged, and only those": (
        "Jede Datei des installierten Lösers mit ihrer Prüfsumme vergleichen und die beschädigten Pakete, und nur "
        "diese, neu laden und installieren"
    ),
    "Log": "Protokoll",
    "shared": "geteilt",
    "Shared Solver": "Geteilter Löser",
    "The listen file of a solver that serves several Blenders (ikol serve --listen-file); empty for a solver of this "
    "Blender's own": (
        "Die Listen-Datei eines Lösers, der mehreren Blendern dient (ikol serve --listen-file); leer für einen eigenen "
        "Löser dieses Blenders"
    ),
    "Key": "Schlüssel",
    "Your key for the shared solver (ikol serve --make-key); only you may be able to read it": (
        "Ihr Schlüssel für den geteilten Löser (ikol serve --make-key); nur Sie dürfen ihn lesen können"
    ),
    "Cancel Installation": "Installation abbrechen",
    "Open Installation Log": "Protokoll der Installation öffnen",
    "Allow Online Access": "Online-Zugriff erlauben",
    "Let Blender and its extensions use the internet; the same as in its preferences under System": (
        "Blender und seine Erweiterungen ins Internet lassen; dasselbe wie in den Einstellungen unter System"
    ),
    "Blender was started offline; start it without --offline-mode": (
        "Blender wurde offline gestartet; bitte ohne --offline-mode starten"
    ),
    "Install for": "Installieren für",
    "Package Index": "Paketverzeichnis",
    "An installation runs": "Eine Installation läuft",
    "The installation is incomplete": "Die Installation ist unvollständig",
    "The solver is not installed": "Der Löser ist nicht installiert",
    "The solver is installed and works": "Der Löser ist installiert und läuft",
    "The solver is removed": "Der Löser ist entfernt",
    "The installed solver works": "Der installierte Löser läuft",
    "Nothing is damaged, and the solver works": "Nichts ist beschädigt, und der Löser läuft",
    "Cancelled; what was fetched is kept for the next time": (
        "Abgebrochen; was geholt wurde, bleibt für das nächste Mal"
    ),
    "The solver is installed, for {variant}": "Der Löser ist installiert, für {variant}",
    "The installed solver is of another version than the add-on: update it": (
        "Der installierte Löser hat eine andere Version als das Add-on: bitte aktualisieren"
    ),
    "There is no log yet: nothing has been installed": "Noch kein Protokoll: es wurde nichts installiert",
    "For {variant}: {download} MB to fetch, {needed} GB of free space": (
        "Für {variant}: {download} MB zu laden, {needed} GB freier Platz nötig"
    ),
    "Fetch PyTorch and the other packages that the solver needs, and install them into a folder of their own below "
    "your Blender folder; no other program is changed. Goes on where an earlier installation stopped": (
        "PyTorch und die anderen Pakete laden, die der Löser braucht, und sie in einen eigenen Ordner unter Ihrem "
        "Blender-Ordner installieren; kein anderes Programm wird geändert. Setzt eine abgebrochene Installation fort"
    ),
    "Install the solver from an offline bundle, without a network": (
        "Den Löser aus einem Offline-Paket installieren, ohne Netz"
    ),
    "Let the installed solver load its weights, compare their hashes and solve a pose that is known": (
        "Den installierten Löser seine Gewichte laden, ihre Prüfsummen vergleichen und eine bekannte Pose lösen lassen"
    ),
    "Remove the installed solver and everything that was fetched for it": (
        "Den installierten Löser und alles, was dafür geladen wurde, entfernen"
    ),
    "Stop the installation; what was fetched is kept for the next time": (
        "Die Installation abbrechen; was geladen wurde, bleibt für das nächste Mal"
    ),
    "Open what the last installation wrote": "Öffnen, was die letzte Installation geschrieben hat",
    "For what PyTorch is installed": "Wofür PyTorch installiert wird",
    "CUDA where an NVIDIA graphics card is found, else the processor": (
        "CUDA, wo eine NVIDIA-Grafikkarte gefunden wird, sonst der Prozessor"
    ),
    "Small; runs everywhere": "Klein; läuft überall",
    "Large; for an NVIDIA graphics card": "Groß; für eine NVIDIA-Grafikkarte",
    "Address of one more package index for pip, beside its usual one; under Linux one with PyTorch for the processor "
    "alone, if you want that": (
        "Adresse eines weiteren Paketverzeichnisses für pip, neben dem üblichen; unter Linux eines mit PyTorch nur für "
        "den Prozessor, falls gewünscht"
    ),
    "The Python interpreter of an environment that has ikol; empty for the installed solver": (
        "Der Python-Interpreter einer Umgebung, die ikol hat; leer für den installierten Löser"
    ),
}
