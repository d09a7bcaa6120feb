"""The preview: the plane in view of a layer, denoised, as a layer above it.

This is the part in the GUI thread. It watches the viewer, asks `preview_answers`, and
draws what comes back; it computes nothing but the blend with the noisy plane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Image
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_blindspot._napari.layers import LOOKS, METADATA_KEY, bare_layer
from napari_blindspot._napari.preview_answers import (
    BY,
    Failure,
    Models,
    Part,
    PreviewThread,
    Question,
    Watcher,
    predicting,
)
from napari_blindspot._napari.preview_canvas import Canvas
from napari_blindspot._napari.preview_start import Search, Searches
from napari_blindspot._napari.preview_view import (
    axes_of,
    is_cut,
    lying_at,
    place_in_view,
    with_axes,
)
from napari_blindspot._napari.wording import in_panel
from napari_blindspot.errors import BlindspotError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_blindspot._napari.preview_answers import By
    from napari_blindspot.config import DenoiseSettings

SOON_MS = 20
"""How long movements are gathered before the plane in view is asked for."""

SETTLED_MS = 120
"""How long a view must stand still before a part of a large plane is asked for."""

FOLLOWED = ("colormap", "contrast_limits", "gamma")
MOVED = (
    "scale", "translate", "rotate", "shear", "affine", "units", "axis_labels",
)  # fmt: skip

BEFORE_TRAINING = "Shows as soon as the network trains."
AFTER_TRAINING = "Goes on when the run has ended."
NO_PLANE = "Shown where the viewer displays planes of y and x of the layer, in 2D."
CUT = "The middle of the view alone; zoom in to see another part."


class Preview(QObject):
    """Shows the plane in view of one layer denoised, while it is switched on.

    Parameters
    ----------
    viewer
        Gets the layer of the preview.
    settings
        Returns the settings that the panel shows; may raise `InputError`.
    say
        Shows a sentence, or nothing, to the user.
    ended
        Called when the preview has ended by itself: a layer was removed.
    """

    told = Signal(object)

    def __init__(
        self,
        viewer: ViewerModel,
        settings: Callable[[], DenoiseSettings],
        say: Callable[[str], object],
        ended: Callable[[], object],
    ) -> None:
        super().__init__()
        self._viewer, self._settings = viewer, settings
        self._say, self._ended = say, ended
        self._trained: WeakKeyDictionary[Image, Models] = WeakKeyDictionary()
        self._searches = Searches()
        self._training, self._waiting = False, ""
        self._thread: PreviewThread | None = None
        self._layer: Image | None = None
        self._image: Image | None = None
        self._question: Question | None = None
        self._asked: tuple[Any, ...] = ()
        self._begun: Part | None = None
        self._canvas: Canvas | None = None
        self._by: Mapping[By, str] = BY
        self._strength, self._letters, self._number = 1.0, "", 0
        self._soon = self._timer(SOON_MS, self.update)
        self._settled = self._timer(SETTLED_MS, self.update)
        self._draw_soon = self._timer(0, self._draw)
        self.told.connect(self._on_told)

    @property
    def layer(self) -> Image | None:
        """The layer that is previewed, None while switched off."""
        return self._layer

    @property
    def image(self) -> Image | None:
        """The layer that shows the preview, None before the first answer."""
        return self._image

    def switch_on(self, layer: Image) -> None:
        """Show the plane in view of a layer; of the one before no more.

        There is no preview of the preview: for its own layer nothing changes.
        """
        layer = bare_layer(layer)
        if layer in (self._layer, self._image):
            return
        self.switch_off()
        self._layer = layer
        self._thread = PreviewThread(self.told.emit)
        for event, callback in self._connections():
            event.connect(callback)
        self.update()

    def switch_off(self) -> None:
        """End the preview and remove its layer."""
        image = self._image
        self.close()
        if image is not None and image in self._viewer.layers:
            self._viewer.layers.remove(image)

    def close(self) -> None:
        """End the preview and its thread; leave the viewer as it is."""
        if self._layer is None:
            return
        for event, callback in self._connections():
            event.disconnect(callback)
        for timer in (self._soon, self._settled, self._draw_soon):
            timer.stop()
        self._forget()
        self._searches.stop()
        if self._thread is not None:
            self._thread.close()
        self._thread = self._layer = self._image = self._canvas = None
        self._say("")

    def use(self, layer: Image, models: Models) -> None:
        """Take other models for a layer; those of another layer are not its own."""
        self._trained[bare_layer(layer)] = models
        self.update()

    def watcher(self, layer: Image) -> Watcher:
        """Return what shows a network that trains on a layer."""
        return Watcher(bare_layer(layer), self._latest, self.told.emit)

    def train(self) -> None:
        """Note that a network trains, which is shown from now on."""
        self._training, self._waiting = True, BEFORE_TRAINING
        self._searches.stop()
        self.update()

    def rest(self) -> None:
        """Note that the network has been trained, and the run goes on with it."""
        if not self._training or self._waiting == AFTER_TRAINING:
            return
        self._waiting = AFTER_TRAINING
        if self._question is not None:
            self._say(AFTER_TRAINING)

    def trained(self) -> None:
        """Note that the run has ended in which a network was trained."""
        self._training = False
        self.update()

    def update(self) -> None:
        """Ask for the plane in view, if it is another one than before."""
        if self._layer is None:
            return
        self._soon.stop()
        try:
            self._ask(self._layer)
        except BlindspotError as error:
            self._forget()
            self._say(in_panel(str(error)))

    def _ask(self, layer: Image) -> None:
        chosen = self._settings()
        self._turn(chosen.strength)
        self._letters = axes_of(layer, chosen.axes)
        models = self._trained.get(layer, Models())
        if chosen.model is not None:
            models = Models(file=chosen.model)
        place = place_in_view(self._viewer, layer, self._letters)
        early = None
        if models or self._training:
            self._searches.stop()
        elif place is not None and self._thread is not None:
            early = self._searches.of(layer, chosen, self._thread.search)
        models, self._by = (early.models, early.by) if early else (models, BY)
        settings = predicting(chosen)
        wanted = (place, settings, layer.data, models, self._training)
        if _same(wanted, self._asked):
            return
        self._forget()
        self._asked = wanted
        if place is None:
            self._say(NO_PLANE)
            return
        if early is not None and not models:
            self._say(early.sentence)
            return
        self._number += 1
        self._question = Question(self._number, layer, layer.data, place, settings)
        if self._training:
            self._say(self._waiting)
        elif self._thread is not None:
            self._thread.ask(self._question, models)

    def _forget(self) -> None:
        """Drop what was asked for."""
        if self._question is not None:
            self._question.token.cancel()
        self._question, self._asked, self._begun = None, (), None

    def _latest(self) -> Question | None:
        return self._question

    def _on_told(self, told: Part | Failure | Search) -> None:
        if isinstance(told, Search):
            if told is self._searches.latest:
                self._asked = ()
                self.update()
            return
        if self._question is None or told.number != self._question.number:
            return  # of a question that is not asked any more
        if isinstance(told, Failure):
            self._say(told.sentence)
        elif told.by == "noisy":
            self._begun = told
        else:
            if told.by == "training":
                self._waiting = BY["training"]
            self._put(told)

    def _put(self, part: Part) -> None:
        if self._begun is not None:
            begun, self._begun = self._begun, None
            self._canvas = Canvas(begun.place, begun.pixels, self._canvas)
            self._canvas.blend(self._strength)
        if self._canvas is not None:
            self._canvas.put(part.place, part.pixels, self._strength)
            self._draw_soon.start()
            self._say(self._sentence(part))

    def _sentence(self, part: Part) -> str:
        cut = (
            self._layer is not None
            and self._question is not None
            and is_cut(self._layer, self._letters, self._question.place)
        )
        by = self._by.get(part.by, BY[part.by])
        return f"{by} {CUT if cut else ''}".strip()

    def _turn(self, strength: float) -> None:
        """Blend anew with another strength; nothing is asked for that."""
        if strength == self._strength:
            return
        self._strength = strength
        if self._canvas is not None:
            self._canvas.blend(strength)
            self._draw_soon.start()

    def _draw(self) -> None:
        """Show the canvas, where its plane lies."""
        if self._canvas is None or self._layer is None:
            return
        pixels = with_axes(self._canvas.shown, self._letters)
        geometry = lying_at(self._layer, self._letters, self._canvas.place)
        self.show_pixels(pixels, geometry)

    def show_pixels(self, pixels: NDArray[Any], geometry: dict[str, Any]) -> None:
        """Hand pixels to napari: what this takes is its own refresh."""
        image = self._image
        if image is None:
            self._add(pixels, geometry)
        elif image.data.base is pixels.base:  # the same, which changed in place
            image.refresh(thumbnail=False, highlight=False, extent=False)
        else:
            visible, image.visible = image.visible, False  # until all of it is done
            image.data, image.translate = pixels, geometry["translate"]
            image.visible = visible

    def _add(self, pixels: NDArray[Any], geometry: dict[str, Any]) -> None:
        layer, layers = self._layer, self._viewer.layers
        if layer is None:
            return
        looks = {name: getattr(layer, name) for name in LOOKS if name != "blending"}
        self._image = Image(
            pixels,
            name=f"{layer.name} preview",
            blending="translucent",
            metadata={METADATA_KEY: {"preview_of": layer.name}},
            **geometry,
            **looks,
        )
        active = layers.selection.active
        layers.append(self._image)
        layers.selection.active = active

    def _connections(self) -> list[tuple[Any, Callable[..., object]]]:
        """Return the events that matter while switched on, and who is told."""
        viewer, layer = self._viewer, self._layer
        camera = getattr(viewer, "scene", viewer).camera
        on_layer: Any = getattr(layer, "events", None)
        moved = [on_layer[name] for name in MOVED if name in on_layer]
        looks = [on_layer[name] for name in FOLLOWED]
        return [
            *((viewer.dims.events[name], self._on_moved) for name in _DIMS),
            (camera.events.zoom, self._on_zoomed),
            (camera.events.center, self._on_zoomed),
            (viewer.layers.events.removed, self._on_removed),
            (on_layer.data, self._on_replaced),
            (on_layer.name, self._on_renamed),
            *((event, self._on_placed) for event in moved),
            *((event, self._on_looks) for event in looks),
        ]

    def _on_moved(self, event: Any = None) -> None:
        if not self._soon.isActive():
            self._soon.start()

    def _on_zoomed(self, event: Any = None) -> None:
        self._settled.start()

    def _on_replaced(self, event: Any = None) -> None:
        """Begin anew: what was shown is of other data."""
        self._forget()
        self._canvas = None
        image, self._image = self._image, None
        if image is not None and image in self._viewer.layers:
            self._viewer.layers.remove(image)
        self._on_moved()

    def _on_placed(self, event: Any = None) -> None:
        if self._image is not None and self._canvas is not None and self._layer:
            geometry = lying_at(self._layer, self._letters, self._canvas.place)
            for name, value in geometry.items():
                setattr(self._image, name, value)
        self._on_moved()

    def _on_renamed(self, event: Any = None) -> None:
        if self._image is not None and self._layer is not None:
            self._image.name = f"{self._layer.name} preview"

    def _on_looks(self, event: Any = None) -> None:
        if self._image is not None and self._layer is not None:
            for name in FOLLOWED:
                setattr(self._image, name, getattr(self._layer, name))

    def _on_removed(self, event: Any) -> None:
        removed = bare_layer(event.value)
        if removed is self._layer or (removed is self._image and removed is not None):
            self.switch_off()
            self._ended()

    def _timer(self, interval_ms: int, callback: Callable[[], object]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(interval_ms)
        timer.timeout.connect(callback)
        return timer


_DIMS = ("point", "order", "ndisplay")


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Return whether the same is wanted; data and models are compared as objects."""
    if len(one) != len(other):
        return False
    (place, settings, data, models, training) = one
    return (
        (place, settings, training) == (other[0], other[1], other[4])
        and data is other[2]
        and models.teacher is other[3].teacher
        and models.student is other[3].student
        and models.file == other[3].file
    )
