import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"

const NODES = ["EverAnimateAnimate", "LongAnimationAnimate", "EverAnimateLongRun"]
const SO_FAR = "video so far"

const remove = (node, name) => {
  const widget = node.widgets?.find((widget) => widget.name === name)
  if (widget) node.removeWidget(widget)
}
// Under which the editor keeps what a node shows.
const keyOf = (node) => (node.graph.isRootGraph ? node.id : `${node.graph.id}:${node.id}`)

// The editor shows live previews over a node's output until the next run: the finished video would stay hidden.
function dropPreview(node) {
  // No public call drops a preview. Emptied, not deleted: the editor itself cleans up only what it finds here.
  app.nodePreviewImages?.[keyOf(node)]?.splice(0)
  // The picture goes too: as long as a node has one, every redraw makes a widget for it.
  node.imgs = undefined
  remove(node, "$$canvas-image-preview")
  remove(node, "$$comfy_animation_preview")
}

// In a node with a video, the editor takes live previews for videos, and shows none of them.
function dropVideo(node) {
  delete app.nodeOutputs[keyOf(node)]
  node.images = node.animatedImages = node.previewMediaType = node.videoContainer = undefined
  remove(node, "video-preview")
  remove(node, SO_FAR)
}

// Beside the live preview. As the node's output, it would take the place of that.
function showSoFar(node, file) {
  let widget = node.widgets.find((widget) => widget.name === SO_FAR)
  if (!widget) {
    const video = document.createElement("video")
    Object.assign(video, { controls: true, loop: true, muted: true, autoplay: true })
    Object.assign(video.style, { width: "100%", height: "100%", objectFit: "contain" })
    widget = node.addDOMWidget(SO_FAR, "video", video, { serialize: false, getMinHeight: () => 200 })
    widget.serialize = false
  }
  // The file is another one after each chunk, under the same name.
  widget.element.src = api.apiURL(`/view?${new URLSearchParams({ ...file, rand: Math.random() })}`)
}

// In a subgraph, ids of nodes are paths: "12:5".
function nodeOf(path) {
  let graph = app.graph
  let node
  for (const id of path.split(":")) {
    node = graph?.getNodeById(Number(id))
    graph = node?.subgraph
  }
  return node
}

app.registerExtension({
  name: "EverAnimate.FinishedVideo",
  setup() {
    api.addEventListener("everanimate.so_far", ({ detail }) => {
      const node = nodeOf(detail.display_node)
      // Another graph may have been opened.
      if (NODES.includes(node?.comfyClass)) showSoFar(node, detail.output.images[0])
    })
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!NODES.includes(nodeData.name)) return
    const { onExecuted, onExecutionStart, onDrawForeground } = nodeType.prototype
    nodeType.prototype.onExecutionStart = function () {
      onExecutionStart?.call(this)
      this.everanimateFinished = false
      dropVideo(this)
    }
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.call(this, output)
      this.everanimateFinished = true
      dropPreview(this)
      remove(this, SO_FAR)
    }
    nodeType.prototype.onDrawForeground = function (...drawn) {
      onDrawForeground?.apply(this, drawn)
      // The last preview may have been loaded only after the end.
      if (this.everanimateFinished && this.imgs) dropPreview(this)
    }
  },
})
